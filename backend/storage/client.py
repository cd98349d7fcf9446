"""A client of Supabase Storage, which authenticates with the project's secret key."""

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

from backend.errors import AppError, SampleTooLarge, StorageUnavailable
from backend.settings.supabase import SupabaseSettings
from backend.storage.upload_tokens import UploadTokens
from backend.telemetry.traces import span
from backend.web.http_client import FAILURES, Body, HttpClient, write_whole

T = TypeVar("T")
CHUNK = 1 << 18  # bytes
PAGE = 1000  # objects of one listing
KEY_REFUSED = (401, 403)
PROBE_SECONDS = 3.0
CALL_SECONDS = 20.0
TRANSFER_SECONDS = 60.0  # of a whole upload, or of a download into a file


class StorageRefused(AppError):  # noqa: N818 - as the other errors
    """The storage refused the request."""

    status = 502
    code = "storage_refused"

    def __init__(self, storage_status: int, storage_code: str, internal: str) -> None:
        super().__init__(internal=internal)
        self.storage_status = storage_status
        self.storage_code = storage_code


class ErrorBody(Struct):
    """Storage sends errors with HTTP 400, and the real status in the body as a string."""

    status: str | int = msgspec.field(name="statusCode", default=0)
    error: str = ""
    message: str = ""
    code: str = ""


class SignedUpload(Struct, frozen=True):
    url: str
    token: str

    @property
    def expires_at(self) -> datetime:
        """Read from the token without verifying it: only Storage can."""
        _, claims, _ = self.token.split(".")
        expiry = msgspec.json.decode(urlsafe_b64decode(claims + "=="), type=JwtExpiry)
        return datetime.fromtimestamp(expiry.exp, UTC)


class JwtExpiry(Struct):
    exp: int


class SignedUrl(Struct, frozen=True):
    url: str = msgspec.field(name="signedURL")


class ObjectInfo(Struct, frozen=True):
    """Equal for one version of an object: a replacement has another `version`."""

    name: str
    size: int
    content_type: str | None = None
    etag: str | None = None
    id: str | None = None
    version: str | None = None
    last_modified: str | None = None


class Listed(Struct, frozen=True):
    name: str
    id: str | None = None  # None marks a folder


class Storage:
    """Raises StorageRefused when Storage refuses a request, StorageUnavailable when it does not respond."""

    def __init__(self, settings: SupabaseSettings, http: HttpClient) -> None:
        self._http = http
        self._base = f"{settings.url}/storage/v1"
        self._tokens = UploadTokens(settings.jwt_secret)
        self._headers = {"apikey": settings.secret_key, "Authorization": f"Bearer {settings.secret_key}"}

    async def create_signed_upload_url(self, bucket: str, path: str, *, upsert: bool = False) -> SignedUpload:
        """An absolute URL to which a client may upload this one object, for two hours."""
        headers = {"x-upsert": str(upsert).lower()}
        body = await self._call("POST", upload_path(bucket, path), json={}, headers=headers)
        token = decode(body, SignedUpload).token
        if not upsert:
            self._tokens.learn(token, f"{bucket}/{path}")
        return SignedUpload(f"{self._base}{upload_path(bucket, path)}?token={token}", token)

    def sign_upload_here(self, bucket: str, path: str) -> SignedUpload | None:
        """The same without a request, while Storage is known to sign with the project's secret."""
        token = self._tokens.sign(f"{bucket}/{path}")
        if token is None:
            return None
        return SignedUpload(f"{self._base}{upload_path(bucket, path)}?token={token}", token)

    async def signed_url(self, bucket: str, path: str, seconds: int) -> str:
        """An absolute URL to read the object, which expires."""
        body = await self._call(
            "POST", f"/object/sign/{object_path(bucket, path)}", json={"expiresIn": seconds}
        )
        return self._base + decode(body, SignedUrl).url

    async def info(self, bucket: str, path: str) -> ObjectInfo | None:
        try:
            body = await self._call("GET", f"/object/info/{object_path(bucket, path)}")
        except StorageRefused as error:
            if error.storage_status == 404:
                return None
            raise
        return decode(body, ObjectInfo)

    async def stream(self, bucket: str, path: str) -> AsyncIterator[bytes]:
        url = f"{self._base}/object/{object_path(bucket, path)}"
        try:
            async with self._http.request("GET", url, headers=self._headers) as response:
                if not response.ok:
                    check(response.status, await response.read())
                async for chunk in response.content.iter_chunked(CHUNK):
                    yield chunk
        except FAILURES as error:
            raise unavailable(error) from error

    async def download_to(self, bucket: str, path: str, target: BinaryIO, max_bytes: int) -> int:
        """Copy the object into an open file; its size. SampleTooLarge past `max_bytes`."""
        size = 0
        try:
            async with asyncio.timeout(TRANSFER_SECONDS):
                async for chunk in self.stream(bucket, path):
                    size += len(chunk)
                    if size > max_bytes:
                        raise SampleTooLarge(help=f"At most {max_bytes} bytes.", extra={"limit": max_bytes})
                    await asyncio.to_thread(write_whole, target, chunk)
        except TimeoutError as error:
            raise unavailable(error) from error
        return size

    async def upload(
        self,
        bucket: str,
        path: str,
        content: Body,
        content_type: str,
        *,
        upsert: bool = False,
    ) -> None:
        headers = {"content-type": content_type, "x-upsert": str(upsert).lower()}
        await self._call(
            "POST",
            f"/object/{object_path(bucket, path)}",
            content=content,
            headers=headers,
            total_seconds=TRANSFER_SECONDS,
        )

    async def remove(self, bucket: str, paths: Sequence[str]) -> int:
        """The number of objects that existed."""
        removed = await self._call("DELETE", f"/object/{quote(bucket)}", json={"prefixes": list(paths)})
        return len(decode(removed, list[Any]))

    async def remove_bucket(self, bucket: str) -> None:
        """An empty one; none there is no error."""
        try:
            await self._call("DELETE", f"/bucket/{quote(bucket)}")
        except StorageRefused as error:
            if error.storage_status != 404:
                raise

    async def list(self, bucket: str, folder: str = "") -> list[str]:
        """The names of all objects in a folder; folders in it are left out."""
        return [each.name for each in await self._entries(bucket, folder) if each.id is not None]

    async def _entries(self, bucket: str, folder: str) -> Sequence[Listed]:
        """The objects of a folder, and the folders in it."""
        entries: list[Listed] = []
        while True:
            page = await self._page(bucket, folder, len(entries), PAGE)
            entries += page
            if len(page) < PAGE:
                return entries

    async def list_page(self, bucket: str, offset: int, limit: int) -> Sequence[str]:
        """The names of objects and folders at the top of a bucket, in the order of their names."""
        return [each.name for each in await self._page(bucket, "", offset, limit)]

    async def _page(self, bucket: str, folder: str, offset: int, limit: int) -> Sequence[Listed]:
        body = {
            "prefix": folder,
            "limit": limit,
            "offset": offset,
            "sortBy": {"column": "name", "order": "asc"},
        }
        return decode(await self._call("POST", f"/object/list/{quote(bucket)}", json=body), list[Listed])

    async def walk(self, bucket: str, folder: str) -> AsyncIterator[str]:
        """The paths of all objects in a folder and below it; of the whole bucket where it is empty."""
        folders = [folder]
        while folders:
            parent = folders.pop()
            for entry in await self._entries(bucket, parent):
                path = f"{parent}/{entry.name}" if parent else entry.name
                if entry.id is None:
                    folders.append(path)
                else:
                    yield path

    async def ping(self) -> None:
        """Raises when Storage does not respond or refuses the key; a missing bucket is no error."""
        try:
            await self._call("GET", "/bucket/ping")
        except StorageRefused as error:
            if error.storage_status != 404:
                raise

    async def probe(self) -> str:
        """ok, unreachable, or Storage's error code."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self.ping()
        except StorageRefused as error:
            return error.storage_code or "refused"
        except (AppError, TimeoutError):
            return "unreachable"
        return "ok"

    async def _call(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        total_seconds: float = CALL_SECONDS,
        **body: Any,
    ) -> bytes:
        headers = {**self._headers, **(headers or {})}
        with span(f"storage {method}", "CLIENT") as current:
            try:
                async with self._http.request(
                    method, self._base + path, headers=headers, total_seconds=total_seconds, **body
                ) as response:
                    content = await response.read()
            except FAILURES as error:
                raise unavailable(error) from error
            current.set(status=response.status)
        check(response.status, content)
        return content


class StorageProfiles:
    """Voices that no vendor keeps, as objects of one bucket. A key is a path."""

    def __init__(self, storage: Storage, bucket: str) -> None:
        self._storage = storage
        self._bucket = bucket

    async def put(self, key: str, data: bytes) -> None:
        """Raises StorageRefused (409) when the key is taken."""
        await self._storage.upload(self._bucket, key, data, "application/json")

    async def get(self, key: str) -> bytes | None:
        try:
            return b"".join([chunk async for chunk in self._storage.stream(self._bucket, key)])
        except StorageRefused as error:
            if error.storage_status == 404:
                return None
            raise

    async def list(self, prefix: str = "") -> list[str]:
        """The keys with this prefix in the folder that the prefix names; folders below it are left out."""
        folder, _, _ = prefix.rpartition("/")
        names = await self._storage.list(self._bucket, folder)
        keys = [f"{folder}/{name}" if folder else name for name in names]
        return [key for key in keys if key.startswith(prefix)]

    async def list_page(self, offset: int, limit: int) -> Sequence[str]:
        return await self._storage.list_page(self._bucket, offset, limit)

    async def delete(self, key: str) -> None:
        await self._storage.remove(self._bucket, [key])


def upload_path(bucket: str, path: str) -> str:
    return f"/object/upload/sign/{object_path(bucket, path)}"


def object_path(bucket: str, path: str) -> str:
    return f"{quote(bucket, safe='')}/{quote(path)}"


def unavailable(error: BaseException) -> StorageUnavailable:
    """Carries only the error's type: its text may quote a signed URL."""
    return StorageUnavailable(internal=type(error).__name__)


def decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise StorageUnavailable(internal=f"not a response of Storage: {error}") from error


def check(http_status: int, body: bytes) -> None:
    """Raises for an error response. One that Storage itself did not send (a proxy's page) is an outage.

    The exception is a gateway's 401 or 403: it refuses our key, and a retry would not help.
    """
    if http_status < 300:
        return
    try:
        refused = msgspec.json.decode(body, type=ErrorBody)
    except msgspec.DecodeError:
        refused = ErrorBody()
    own = int(refused.status) if str(refused.status).isdecimal() else 0
    status = own or http_status
    internal = f"HTTP {http_status}, {status} {refused.code or refused.error}: {refused.message}"
    if status >= 500 or status == 429 or not (own or http_status in KEY_REFUSED):
        raise StorageUnavailable(internal=internal)
    raise StorageRefused(status, refused.code or refused.error, internal)
