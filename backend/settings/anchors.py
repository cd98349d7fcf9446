"""Settings of the anchors of consents: where they are published beside the bucket."""

import os
from base64 import b64decode
from binascii import Error
from collections.abc import Iterator
from pathlib import Path

from msgspec import field

from backend.settings.sections import Section, url_problems

SECRET_PREFIX = "whsec_"  # noqa: S105 - of Standard Webhooks
SECRET_BYTES = range(24, 65)


class AnchorSettings(Section, frozen=True, kw_only=True):
    file: str = field(name="CONSENT_ANCHOR_FILE", default="")  # each anchor is appended as a line
    webhook_url: str = field(name="CONSENT_ANCHOR_WEBHOOK_URL", default="")
    webhook_secret: str = field(name="CONSENT_ANCHOR_WEBHOOK_SECRET", default="")  # whsec_…

    def problems(self) -> Iterator[str]:
        if self.file and not is_appendable(Path(self.file)):
            yield "CONSENT_ANCHOR_FILE cannot be written: its folder must exist and be writable"
        if self.webhook_url:
            yield from url_problems("CONSENT_ANCHOR_WEBHOOK_URL", self.webhook_url)
        if self.webhook_secret and not is_secret(self.webhook_secret):
            yield "CONSENT_ANCHOR_WEBHOOK_SECRET is not whsec_ and 24 to 64 bytes in base64"
        if bool(self.webhook_url) != bool(self.webhook_secret):
            yield "CONSENT_ANCHOR_WEBHOOK_URL and CONSENT_ANCHOR_WEBHOOK_SECRET are set together"


def is_appendable(path: Path) -> bool:
    if path.exists():
        return path.is_file() and os.access(path, os.W_OK)
    return os.access(path.parent, os.W_OK)


def is_secret(text: str) -> bool:
    try:
        return (
            text.startswith(SECRET_PREFIX)
            and len(b64decode(text.removeprefix(SECRET_PREFIX), validate=True)) in SECRET_BYTES
        )
    except Error:
        return False
