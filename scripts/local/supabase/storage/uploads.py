"""An upload: limits of the bucket, a try of the insert as the caller, the bytes, then the row."""

import re
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Request

from scripts.local.supabase.storage.database import Row, run
from scripts.local.supabase.storage.errors import LocalStorageError
from scripts.local.supabase.storage.server import Server
from scripts.local.supabase.storage.tokens import SERVICE, RequestUser
from scripts.local.supabase.storage.upload_bodies import open_body

VALID_KEY = re.compile(r"[A-Za-z0-9_/!.*'() &$=@;:+,?-]+")


def check_name(name: str) -> None:
    """Names that every client and proxy reads alike: no dot segments, which some would resolve.

    Raises:
        LocalStorageError: InvalidKey.
    """
    if not VALID_KEY.fullmatch(name) or {"", ".", ".."} & set(name.split("/")):
        raise LocalStorageError("InvalidKey", f"Invalid key: {name}")


def as_uuid(owner: str | None) -> str | None:
    try:
        return str(uuid.UUID(owner)) if owner else None
    except ValueError:
        return None


def row_values(bucket: str, name: str, owner: str | None, **rest: Any) -> dict[str, Any]:
    empty = {"version": "1", "metadata": None, "user_metadata": None}
    return {"bucket": bucket, "name": name, "owner": owner, "owner_uuid": as_uuid(owner), **empty, **rest}


async def try_upload(
    server: Server,
    caller: RequestUser,
    operation: str,
    bucket: str,
    name: str,
    owner: str | None,
    *,
    upsert: bool,
) -> None:
    """Raise what an upload under this name would be refused with; one round trip, rolled back."""
    query = "upsert_object" if upsert else "insert_object"
    await run(server.pool, caller, operation, query, keep=False, **row_values(bucket, name, owner))


async def upload(
    server: Server,
    request: Request[Any, Any, Any],
    caller: RequestUser,
    bucket: str,
    name: str,
    *,
    operation: str,
    owner: str | None,
    upsert: bool,
) -> str:
    """Store the request's body; returns the object's id."""
    found = await find_bucket(server, bucket)
    body = await open_body(request)
    check_mime_type(body.mime_type, found["allowed_mime_types"])
    check_name(name)
    await try_upload(server, caller, operation, bucket, name, owner, upsert=upsert)
    received = await server.files.receive(body.content, found["file_size_limit"])
    metadata = {
        "eTag": received.etag,
        "size": received.size,
        "mimetype": body.mime_type,
        "cacheControl": body.cache_control,
        "lastModified": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "contentLength": received.size,
        "httpStatusCode": 200,
    }
    values = row_values(
        bucket,
        name,
        owner,
        version=received.version,
        metadata=msgspec.json.encode(metadata).decode(),
        user_metadata=msgspec.json.encode(body.user_metadata).decode(),
    )
    try:
        query = "complete_upsert" if upsert else "complete_insert"
        row = (await run(server.pool, SERVICE, operation, query, **values))[0]
    except BaseException:
        server.files.remove(received.version)
        raise
    server.files.remove(row["replaced"])
    return str(row["id"])


async def find_bucket(server: Server, bucket: str) -> Row:
    """A bucket's limits, read with the server's own rights.

    Raises:
        LocalStorageError: NoSuchBucket.
    """
    found = await run(server.pool, SERVICE, "storage.bucket.get", "find_bucket", bucket=bucket)
    if not found:
        raise LocalStorageError("NoSuchBucket")
    return found[0]


def check_mime_type(mime_type: str, allowed: list[str] | None) -> None:
    """The declared type against the bucket's list, in which `audio/*` allows every kind of audio.

    Raises:
        LocalStorageError: InvalidMimeType.
    """
    kind, slash, _ = mime_type.partition("/")
    if allowed and (not slash or (mime_type not in allowed and f"{kind}/*" not in allowed)):
        raise LocalStorageError("InvalidMimeType", f"mime type {mime_type} is not supported")
