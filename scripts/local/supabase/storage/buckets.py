"""Routes under /bucket."""

import re
from typing import Any

import msgspec
from litestar import Controller, Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from scripts.local.supabase.storage.database import Row, run
from scripts.local.supabase.storage.errors import LocalStorageError
from scripts.local.supabase.storage.objects import read_json, require
from scripts.local.supabase.storage.server import Server
from scripts.local.supabase.storage.sizes import parse_size
from scripts.local.supabase.storage.tokens import RequestUser

VALID_NAME = re.compile(r"[A-Za-z0-9_!.*'() &$=@;:+,?-]{1,100}")


class NewBucket(msgspec.Struct):
    name: str
    id: str | None = None
    public: bool = False
    file_size_limit: int | str | None = None
    allowed_mime_types: list[str] | None = None


class BucketsController(Controller):
    path = "/bucket"

    @post("/", status_code=200)
    async def create(
        self,
        server: NamedDependency[Server],
        caller: NamedDependency[RequestUser | None],
        request: Request[Any, Any, Any],
    ) -> dict[str, str]:
        caller = require(caller)
        body = await read_json(request, NewBucket)
        identifier = body.id or body.name
        if not VALID_NAME.fullmatch(identifier):
            raise LocalStorageError("InvalidBucketName")
        limit = body.file_size_limit
        try:
            await run(
                server.pool,
                caller,
                "storage.bucket.create",
                "create_bucket",
                bucket=identifier,
                name=body.name,
                owner=caller.owner,
                public=body.public,
                file_size_limit=parse_size(limit) if isinstance(limit, str) else limit,
                allowed_mime_types=body.allowed_mime_types,
            )
        except LocalStorageError as error:
            if error.body["code"] == "KeyAlreadyExists":
                raise LocalStorageError("BucketAlreadyExists") from error
            raise
        return {"name": body.name}

    @get("/")
    async def list_all(
        self, server: NamedDependency[Server], caller: NamedDependency[RequestUser | None]
    ) -> list[Row]:
        return await run(server.pool, require(caller), "storage.bucket.list", "list_buckets")

    @get("/{bucket:str}")
    async def get_one(
        self,
        server: NamedDependency[Server],
        caller: NamedDependency[RequestUser | None],
        bucket: FromPath[str],
    ) -> Row:
        found = await run(server.pool, require(caller), "storage.bucket.get", "find_bucket", bucket=bucket)
        if not found:
            raise LocalStorageError("NoSuchBucket")
        return found[0]

    @delete("/{bucket:str}", status_code=200)
    async def delete_one(
        self,
        server: NamedDependency[Server],
        caller: NamedDependency[RequestUser | None],
        bucket: FromPath[str],
    ) -> dict[str, str]:
        found = await run(
            server.pool, require(caller), "storage.bucket.delete", "delete_bucket", bucket=bucket
        )
        if not found:
            raise LocalStorageError("NoSuchBucket")
        if not found[0]["is_deleted"]:
            raise LocalStorageError("BucketNotEmpty")
        return {"message": "Successfully deleted"}
