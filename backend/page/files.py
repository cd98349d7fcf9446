"""The page's files, read, tagged and compressed once at start."""

import gzip
import hashlib
from html import escape
from pathlib import Path

from msgspec import Struct

from backend.settings.supabase import SupabaseSettings

FOLDER = Path(__file__).parent / "static"
MEDIA_TYPES = {  # the answer names the encoding of a text
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class PageFile(Struct, frozen=True):
    media_type: str
    plain: bytes
    compressed: bytes
    etag: str  # of the plain content, without quotes


def read_files(supabase: SupabaseSettings) -> dict[str, PageFile]:
    """By name. The document gets the address of the project and its publishable key as attributes."""
    files = {each.name: make_file(each.suffix, each.read_bytes()) for each in FOLDER.iterdir()}
    document = files["index.html"].plain.decode()
    for name, value in (("supabase-url", supabase.url), ("publishable-key", supabase.publishable_key)):
        document = document.replace(f'data-{name}=""', f'data-{name}="{escape(value)}"')
    return {**files, "index.html": make_file(".html", document.encode())}


def make_file(suffix: str, plain: bytes) -> PageFile:
    return PageFile(
        media_type=MEDIA_TYPES[suffix],
        plain=plain,
        compressed=gzip.compress(plain, mtime=0),
        etag=hashlib.sha256(plain).hexdigest()[:32],
    )
