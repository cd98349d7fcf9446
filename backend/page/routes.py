"""The routes of the page. They exist where SUPABASE_PUBLISHABLE_KEY is set and PAGE is not false."""

import re
from typing import Any
from urllib.parse import urlsplit

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from backend.page.files import PageFile, read_files
from backend.settings import Settings


def page_routes(settings: Settings) -> list[ControllerRouterHandler]:
    if not settings.server.page or not settings.supabase.publishable_key:
        return []
    files = read_files(settings.supabase)
    headers = page_headers(settings.supabase.url)

    @get("/", include_in_schema=False, sync_to_thread=False)
    def read_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return answer_file(files["index.html"], request, headers)

    @get("/verify", include_in_schema=False, sync_to_thread=False)
    def read_verify_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return answer_file(files["verify.html"], request, headers)

    @get("/page/{name:str}", include_in_schema=False, sync_to_thread=False)
    def read_page_file(name: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
        if name not in files:
            raise NotFoundException
        return answer_file(files[name], request, headers)

    return [read_page, read_verify_page, read_page_file]


def page_headers(supabase_url: str) -> dict[str, str]:
    parts = urlsplit(supabase_url)
    project = f"{parts.scheme}://{parts.netloc}"
    policy = (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        f"media-src 'self' blob: {project}",
        f"connect-src 'self' {project}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
    return {
        "content-security-policy": "; ".join(policy),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-cache",
        "vary": "accept-encoding",
    }


def answer_file(file: PageFile, request: Request[Any, Any, Any], headers: dict[str, str]) -> Response[bytes]:
    """304 when the client has this content. Each encoding has a tag of its own."""
    compressed = accepts_gzip(request.headers.get("accept-encoding", ""))
    etag = f'"{file.etag}-gzip"' if compressed else f'"{file.etag}"'
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    answer = {**headers, "etag": etag}
    if etag in known:
        return Response(b"", status_code=304, headers=answer, media_type=file.media_type)
    if compressed:
        answer["content-encoding"] = "gzip"
    content = file.compressed if compressed else file.plain
    return Response(content, headers=answer, media_type=file.media_type)


def accepts_gzip(accepted: str) -> bool:
    for coding in accepted.lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";")
        if name == "gzip":
            return not re.fullmatch(r"q=0(\.0*)?", weight)
    return False
