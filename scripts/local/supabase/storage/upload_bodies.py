"""The body of an upload: multipart with one file, or the raw bytes themselves; never whole in memory."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from scripts.local.supabase.storage.errors import LocalStorageError

MAX_FIELD_BYTES = 1024 * 1024
MAX_FIELDS = 10


class Body(msgspec.Struct):
    """What is known of a file before its bytes, and the bytes."""

    mime_type: str
    cache_control: str
    user_metadata: dict[str, Any]
    content: AsyncIterator[bytes]


async def open_body(request: Request[Any, Any, Any]) -> Body:
    """Read up to where the file begins.

    Raises:
        LocalStorageError: there is no file.
    """
    header = request.headers.get("content-type", "")
    kind, options = parse_options_header(header)
    if kind == "multipart/form-data":
        return await open_multipart(request.stream(), options.get("boundary", ""))
    return Body(
        mime_type=header or "application/octet-stream",
        cache_control=request.headers.get("cache-control", "no-cache"),
        user_metadata=parse_metadata(request.headers.get("x-metadata"), encoded=True),
        content=request.stream(),
    )


async def open_multipart(stream: AsyncIterator[bytes], boundary: str) -> Body:
    """Fields come first, as every client sends them; the file's part is passed on as a stream."""
    fields: dict[str, bytearray] = {}
    events = multipart_events(stream, boundary)
    current: bytearray | None = None
    async for event in events:
        match event:
            case MultipartSegment(filename=None):
                if len(fields) == MAX_FIELDS:
                    raise LocalStorageError("InvalidRequest", "Too many fields")
                current = fields.setdefault(event.name or "", bytearray())
            case MultipartSegment():
                text = {name: value.decode(errors="replace") for name, value in fields.items()}
                age = text.get("cacheControl")
                # Without its parameters: a browser records audio/webm;codecs=opus, and audio/webm is stored.
                declared, _ = parse_options_header(event.header("Content-Type") or "application/octet-stream")
                return Body(
                    mime_type=text.get("contentType") or declared.lower(),
                    cache_control=f"max-age={age}" if age else "no-cache",
                    user_metadata=parse_metadata(text.get("metadata") or text.get("userMetadata")),
                    content=file_content(events),
                )
            case bytes() | bytearray() if current is not None:
                current += event
                if len(current) > MAX_FIELD_BYTES:
                    raise LocalStorageError(
                        "EntityTooLarge", "The user_metadata exceeded the maximum allowed size"
                    )
    raise LocalStorageError("InvalidRequest", "No content provided")


async def multipart_events(
    stream: AsyncIterator[bytes], boundary: str
) -> AsyncIterator[MultipartSegment | bytes | bytearray | None]:
    try:
        with PushMultipartParser(boundary, header_charset="utf8", max_segment_count=MAX_FIELDS + 2) as parser:
            async for chunk in stream:
                for event in parser.parse(chunk) if chunk else ():
                    yield event
    except MultipartError as error:
        raise LocalStorageError("InvalidRequest", str(error) or "No content provided") from error


async def file_content(
    events: AsyncIterator[MultipartSegment | bytes | bytearray | None],
) -> AsyncIterator[bytes]:
    """The bytes of the part that has just begun; what follows it is read and dropped."""
    ended = False
    async for event in events:
        if event is None:
            ended = True
        elif isinstance(event, bytes | bytearray) and not ended:
            yield bytes(event)


def parse_metadata(text: str | None, *, encoded: bool = False) -> dict[str, Any]:
    """Metadata of a user's own; what is not JSON is dropped, as the hosted server does."""
    try:
        value = json.loads(base64.b64decode(text) if encoded else text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
