"""Answers that carry an object or its description, with ranges."""

import re
from collections.abc import AsyncIterator
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from litestar import Request, Response
from litestar.response import Stream

from scripts.local.supabase.storage.database import Row, run
from scripts.local.supabase.storage.errors import LocalStorageError
from scripts.local.supabase.storage.files import CHUNK
from scripts.local.supabase.storage.server import Server
from scripts.local.supabase.storage.tokens import SERVICE, RequestUser
from scripts.local.supabase.storage.uploads import check_name, find_bucket

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


async def find_object(server: Server, caller: RequestUser, operation: str, bucket: str, name: str) -> Row:
    """The row, if the caller may see it.

    Raises:
        LocalStorageError: NoSuchKey, also for an object of another user.
    """
    check_name(name)
    found = await run(server.pool, caller, operation, "find_object", bucket=bucket, name=name)
    if not found:
        raise LocalStorageError("NoSuchKey")
    return found[0]


async def find_readable(
    server: Server, caller: RequestUser | None, operation: str, bucket: str, name: str
) -> Row:
    """As `find_object`; a public bucket is open to all, any other only to who has a token or key."""
    found = await find_bucket(server, bucket)
    if found["public"]:
        return await find_object(server, SERVICE, operation, bucket, name)
    if caller is None:
        raise LocalStorageError("NoSuchBucket")
    return await find_object(server, caller, operation, bucket, name)


async def object_response(server: Server, request: Request[Any, Any, Any], row: Row) -> Response[Any]:
    """The bytes: 200, 206 for a range, 304 for what the client has; without them for HEAD."""
    metadata = row["metadata"] or {}
    size = int(metadata.get("size", 0))
    headers = {
        "accept-ranges": "bytes",
        "cache-control": metadata.get("cacheControl", "no-cache"),
        "content-type": metadata.get("mimetype", "application/octet-stream"),
        "etag": metadata.get("eTag", ""),
        "last-modified": format_datetime(row["updated_at"], usegmt=True),
        "x-robots-tag": "none",
    }
    download = request.query_params.get("download")
    if download is not None:
        name = quote(download, safe="")
        named = f" filename={name}; filename*=UTF-8''{name}" if name else ""
        headers["content-disposition"] = f"attachment;{named}"
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(None, status_code=304, headers=headers)
    start, end, status = 0, size - 1, 200
    if wanted := request.headers.get("range"):
        start, end = parse_range(wanted, size)
        headers["content-range"] = f"bytes {start}-{end}/{size}"
        status = 206
    headers["content-length"] = str(end + 1 - start)
    how = {"status_code": status, "headers": headers, "media_type": headers["content-type"]}
    if request.method == "HEAD":
        return Stream(nothing(), **how)
    content = server.files.read(row["version"], start, end)
    if end + 1 - start > CHUNK:
        return Stream(content, **how)
    return Response(b"".join([chunk async for chunk in content]), **how)  # a stream costs more than this


def parse_range(header: str, size: int) -> tuple[int, int]:
    """First and last byte of `bytes=0-9`, `bytes=10-` or `bytes=-10`.

    Raises:
        LocalStorageError: InvalidRange.
    """
    match = RANGE.fullmatch(header.strip())
    first, last = match.groups() if match else ("", "")
    if first:
        start, end = int(first), min(int(last or size), size - 1)
    else:
        start, end = max(0, size - int(last or 0)), size - 1
    if start > end:
        raise LocalStorageError("InvalidRange")
    return start, end


def describe(row: Row) -> dict[str, Any]:
    """The answer of `info`."""
    metadata = row["metadata"] or {}
    return {
        "id": row["id"],
        "name": row["name"],
        "version": row["version"],
        "bucket_id": row["bucket_id"],
        "size": metadata.get("size"),
        "content_type": metadata.get("mimetype"),
        "cache_control": metadata.get("cacheControl"),
        "etag": metadata.get("eTag"),
        "metadata": row["user_metadata"],
        "last_modified": row["updated_at"],
        "created_at": row["created_at"],
    }


async def nothing() -> AsyncIterator[bytes]:
    return
    yield b""
