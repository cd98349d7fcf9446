"""Routes under /object."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec
from litestar import Controller, Request, Response, delete, get, post, route
from litestar.di import NamedDependency
from litestar.enums import HttpMethod
from litestar.params import FromPath

from scripts.local.supabase.storage.database import Row, run
from scripts.local.supabase.storage.downloads import describe, find_object, find_readable, object_response
from scripts.local.supabase.storage.errors import LocalStorageError, missing_header
from scripts.local.supabase.storage.server import Server
from scripts.local.supabase.storage.tokens import (
    SERVICE,
    RequestUser,
    sign_download,
    sign_upload,
    verify_signed,
)
from scripts.local.supabase.storage.uploads import check_name, try_upload, upload

AnyRequest = Request[Any, Any, Any]
MAX_NAMES = 1000
BodyT = TypeVar("BodyT")


class Signing(msgspec.Struct, rename="camel"):
    expires_in: int


class SigningMany(msgspec.Struct, rename="camel"):
    expires_in: int
    paths: list[str]


class Removal(msgspec.Struct):
    prefixes: list[str]


class SortBy(msgspec.Struct):
    column: str = "name"
    order: str = "asc"


class Listing(msgspec.Struct, rename="camel"):
    prefix: str
    limit: int = 100
    offset: int = 0
    search: str = ""
    sort_by: SortBy = msgspec.field(default_factory=SortBy)


async def read_json(request: AnyRequest, kind: type[BodyT]) -> BodyT:
    """The body, with numbers also as text, which is how the Python client sends them."""
    try:
        return msgspec.json.decode(await request.body(), type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise LocalStorageError("InvalidRequest", str(error), error="Error") from error


def named(path: Path) -> str:
    return str(path).removeprefix("/")


def require(caller: RequestUser | None) -> RequestUser:
    if caller is None:
        raise missing_header("authorization")
    return caller


def token_of(request: AnyRequest) -> str:
    token = request.query_params.get("token")
    if token is None:
        raise LocalStorageError(
            "InvalidRequest", "querystring must have required property 'token'", error="Error"
        )
    return token


class ObjectsController(Controller):
    path = "/object"

    @post("/upload/sign/{bucket:str}/{path:path}", status_code=200)
    async def sign_upload_url(
        self,
        server: NamedDependency[Server],
        caller: NamedDependency[RequestUser | None],
        request: AnyRequest,
        bucket: FromPath[str],
        path: FromPath[Path],
    ) -> dict[str, str]:
        """A URL that takes one upload; whether the caller may make it is tried here, in one round trip."""
        caller, name = require(caller), named(path)
        check_name(name)
        upsert = request.headers.get("x-upsert") == "true"
        operation = "storage.object.sign_upload_url"
        await try_upload(server, caller, operation, bucket, name, caller.owner, upsert=upsert)
        url = f"{bucket}/{name}"
        token = sign_upload(server.keys.jwt_secret, url, caller.owner, upsert=upsert)
        return {"url": f"/object/upload/sign/{url}?token={token}", "token": token}

    @route("/upload/sign/{bucket:str}/{path:path}", http_method=HttpMethod.PUT, status_code=200)
    async def upload_signed(
        self,
        server: NamedDependency[Server],
        request: AnyRequest,
        bucket: FromPath[str],
        path: FromPath[Path],
    ) -> dict[str, str]:
        """The token is the right to upload; no other is looked at."""
        name = named(path)
        claims = verify_signed(server.keys.jwt_secret, token_of(request), f"{bucket}/{name}", "upload")
        await upload(
            server,
            request,
            SERVICE,
            bucket,
            name,
            operation="storage.object.upload_signed",
            owner=claims.get("owner"),
            upsert=claims.get("upsert") is True,
        )
        return {"Key": f"{bucket}/{name}"}

    @post("/sign/{bucket:str}/{path:path}", status_code=200)
    async def sign_url(
        self,
        server: NamedDependency[Server],
        caller: NamedDependency[RequestUser | None],
        request: AnyRequest,
        bucket: FromPath[str],
        path: FromPath[Path],
    ) -> dict[str, str]:
        caller, name = require(caller), named(path)
        body = await read_json(request, Signing)
        await find_object(server, caller, "storage.object.sign", bucket, name)
        token = sign_download(server.keys.jwt_secret, f"{bucket}/{name}", body.expires_in)
        return {"signedURL": f"/object/sign/{bucket}/{name}?token={token}"}

    @post("/sign/{bucket:str}", status_code=200)
    async def sign_urls(
        self,
        server: NamedDependency[Server],
        caller: NamedDependency[RequestUser | None],
        request: AnyRequest,
        bucket: FromPath[str],
    ) -> list[dict[str, str | None]]:
        caller = require(caller)
        body = await read_json(request, SigningMany)
        operation = "storage.object.sign_many"
        rows = await run(server.pool, caller, operation, "find_objects", bucket=bucket, names=body.paths)
        found = {row["name"] for row in rows}
        absent = "Either the object does not exist or you do not have access to it"
        signed: list[dict[str, str | None]] = []
        for name in body.paths:
            url = f"{bucket}/{name}"
            token = sign_download(server.keys.jwt_secret, url, body.expires_in) if name in found else None
            signed_url = f"/object/sign/{url}?token={token}" if token else None
            signed.append({"error": None if token else absent, "path": name, "signedURL": signed_url})
        return signed

    @route("/sign/{bucket:str}/{path:path}", http_method=[HttpMethod.GET, HttpMethod.HEAD], status_code=200)
    async def download_signed(
        self,
        server: NamedDependency[Server],
        request: AnyRequest,
        bucket: FromPath[str],
        path: FromPath[Path],
    ) -> Response[Any]:
        name = named(path)
        verify_signed(server.keys.jwt_secret, token_of(request), f"{bucket}/{name}", "download")
        row = await find_object(server, SERVICE, "storage.object.get_signed", bucket, name)
        return await object_response(server, request, row)

    @get(["/info/{bucket:str}/{path:path}", "/info/authenticated/{bucket:str}/{path:path}"])
    async def info(
        self,
        server: NamedDependency[Server],
        caller: NamedDependency[RequestUser | None],
        bucket: FromPath[str],
        path: FromPath[Path],
    ) -> dict[str, Any]:
        operation = "object.get_authenticated_info"
        return describe(await find_readable(server, caller, operation, bucket, named(path)))

    @route(
        ["/{bucket:str}/{path:path}", "/authenticated/{bucket:str}/{path:path}"],
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
        status_code=200,
    )
    async def download(
        self,
        server: NamedDependency[Server],
        caller: NamedDependency[RequestUser | None],
        request: AnyRequest,
        bucket: FromPath[str],
        path: FromPath[Path],
    ) -> Response[Any]:
        operation = "storage.object.get_authenticated"
        row = await find_readable(server, caller, operation, bucket, named(path))
        return await object_response(server, request, row)

    @get("/public/{bucket:str}/{path:path}")
    async def download_public(
        self,
        server: NamedDependency[Server],
        request: AnyRequest,
        bucket: FromPath[str],
        path: FromPath[Path],
    ) -> Response[Any]:
        row = await find_readable(server, None, "storage.object.get_public", bucket, named(path))
        return await object_response(server, request, row)

    @route("/{bucket:str}/{path:path}", http_method=[HttpMethod.POST, HttpMethod.PUT], status_code=200)
    async def upload_object(
        self,
        server: NamedDependency[Server],
        caller: NamedDependency[RequestUser | None],
        request: AnyRequest,
        bucket: FromPath[str],
        path: FromPath[Path],
    ) -> dict[str, str]:
        """POST makes an object, and replaces one with `x-upsert: true`; PUT always may replace."""
        caller, name = require(caller), named(path)
        updating = request.method == "PUT"
        identifier = await upload(
            server,
            request,
            caller,
            bucket,
            name,
            operation="storage.object.upload_update" if updating else "storage.object.upload",
            owner=caller.owner,
            upsert=updating or request.headers.get("x-upsert") == "true",
        )
        return {"Id": identifier, "Key": f"{bucket}/{name}"}

    @delete("/{bucket:str}/{path:path}", status_code=200)
    async def remove_one(
        self,
        server: NamedDependency[Server],
        caller: NamedDependency[RequestUser | None],
        bucket: FromPath[str],
        path: FromPath[Path],
    ) -> dict[str, str]:
        operation = "storage.object.delete"
        if not await remove(server, require(caller), operation, bucket, [named(path)]):
            raise LocalStorageError("NoSuchKey")
        return {"message": "Successfully deleted"}

    @delete("/{bucket:str}", status_code=200)
    async def remove_many(
        self,
        server: NamedDependency[Server],
        caller: NamedDependency[RequestUser | None],
        request: AnyRequest,
        bucket: FromPath[str],
    ) -> list[Row]:
        caller = require(caller)
        body = await read_json(request, Removal)
        if not 0 < len(body.prefixes) <= MAX_NAMES:
            raise LocalStorageError(
                "InvalidRequest", "body/prefixes must NOT have fewer than 1 items", error="Error"
            )
        return await remove(server, caller, "storage.object.delete_many", bucket, body.prefixes)

    @post("/list/{bucket:str}", status_code=200)
    async def list_objects(
        self,
        server: NamedDependency[Server],
        caller: NamedDependency[RequestUser | None],
        request: AnyRequest,
        bucket: FromPath[str],
    ) -> list[Row]:
        caller = require(caller)
        body = await read_json(request, Listing)
        columns = ("name", "created_at", "updated_at", "last_accessed_at")
        return await run(
            server.pool,
            caller,
            "storage.object.list",
            "list_objects",
            bucket=bucket,
            prefix=f"{body.prefix.removesuffix('/')}/" if body.prefix else "",
            search=body.search,
            column=body.sort_by.column if body.sort_by.column in columns else "name",
            descending=body.sort_by.order == "desc",
            limit=max(0, min(body.limit, MAX_NAMES)),
            offset=max(0, body.offset),
        )


async def remove(
    server: Server, caller: RequestUser, operation: str, bucket: str, names: list[str]
) -> list[Row]:
    """Rows first, files after: a crash between leaves files, which the next start sweeps."""
    rows = await run(server.pool, caller, operation, "delete_objects", bucket=bucket, names=names)
    for row in rows:
        server.files.remove(row["version"])
    return rows
