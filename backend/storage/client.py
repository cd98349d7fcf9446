"""Supabase Storage, spoken to with the project's secret key over one pool of kept-alive connections."""

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import anyio
import msgspec
from msgspec import Struct

from backend.errors import AppError, SampleTooLarge, StorageUnavailable
from backend.settings.supabase import SupabaseSettings
from backend.storage.upload_tokens import UploadTokens
from backend.web.http_client import FAILURES, Body, HttpClient

T = TypeVar("T")
CHUNK = 1 << 18  # bytes
PAGE = 1000  # objects of one listing
KEY_REFUSED = (401, 403)
PROBE_SECONDS = 3.0


class StorageError(AppError):
    """The storage refused the request."""

    status = 502
    code = "storage_refused"

    def __init__(self, storage_status: int, storage_code: str, internal: str) -> None:
        super().__init__(internal=internal)
        self.storage_status = storage_status
        self.storage_code = storage_code


class Refusal(Struct):
    """Storage answers errors with HTTP 400 and the real status in the body, as a string."""

    status: str | int = msgspec.field(name="statusCode", default=0)
    error: str = ""
    message: str = ""
    code: str = ""


class SignedUpload(Struct, frozen=True):
    url: str
    token: str

    @property
    def expires_at(self) -> datetime:
        """Read from the token, whose signature is Storage's to check."""
        _, claims, _ = self.token.split(".")
        ends = msgspec.json.decode(urlsafe_b64decode(claims + "=="), type=Ends)
        return datetime.fromtimestamp(ends.exp, UTC)


class Ends(Struct):
    exp: int


class SignedUrl(Struct, frozen=True):
    url: str = msgspec.field(name="signedURL")


class ObjectInfo(Struct, frozen=True):
    name: str
    size: int
    content_type: str | None = None
    etag: str | None = None


class Listed(Struct, frozen=True):
    name: str
    id: str | None = None  # None marks a folder


class Storage:
    """Raises StorageError when the storage refuses and StorageUnavailable when it does not answer."""

    def __init__(self, settings: SupabaseSettings, http: HttpClient) -> None:
        self._http = http
        self._base = f"{settings.url}/storage/v1"
        self._tokens = UploadTokens(settings.jwt_secret)
        self._headers = {"apikey": settings.secret_key, "Authorization": f"Bearer {settings.secret_key}"}

    async def create_signed_upload_url(self, bucket: str, path: str, *, upsert: bool = False) -> SignedUpload:
        """Where a client may put this one object, for two hours. The url is absolute."""
        headers = {"x-upsert": str(upsert).lower()}
        answer = await self._call("POST", upload_place(bucket, path), json={}, headers=headers)
        token = decode(answer, SignedUpload).token
        if not upsert:
            self._tokens.learn(token, f"{bucket}/{path}")
        return SignedUpload(f"{self._base}{upload_place(bucket, path)}?token={token}", token)

    def sign_upload_here(self, bucket: str, path: str) -> SignedUpload | None:
        """The same without asking Storage, while it is known to sign with the project's secret."""
        token = self._tokens.sign(f"{bucket}/{path}")
        if token is None:
            return None
        return SignedUpload(f"{self._base}{upload_place(bucket, path)}?token={token}", token)

    async def signed_url(self, bucket: str, path: str, seconds: int) -> str:
        """An absolute URL that reads the object and expires."""
        answer = await self._call(
            "POST", f"/object/sign/{address(bucket, path)}", json={"expiresIn": seconds}
        )
        return self._base + decode(answer, SignedUrl).url

    async def info(self, bucket: str, path: str) -> ObjectInfo | None:
        try:
            answer = await self._call("GET", f"/object/info/{address(bucket, path)}")
        except StorageError as error:
            if error.storage_status == 404:
                return None
            raise
        return decode(answer, ObjectInfo)

    async def stream(self, bucket: str, path: str) -> AsyncIterator[bytes]:
        url = f"{self._base}/object/{address(bucket, path)}"
        try:
            async with self._http.request("GET", url, headers=self._headers) as response:
                if not response.ok:
                    check(response.status, await response.read())
                async for chunk in response.content.iter_chunked(CHUNK):
                    yield chunk
        except FAILURES as error:
            raise unavailable(error) from error

    async def download_to(self, bucket: str, path: str, target: Path, max_bytes: int) -> int:
        """Copy the object into a file; its size. Past `max_bytes`, SampleTooLarge, and no file is left."""
        size = 0
        try:
            async with await anyio.open_file(target, "wb") as file:
                async for chunk in self.stream(bucket, path):
                    size += len(chunk)
                    if size > max_bytes:
                        raise SampleTooLarge(
                            help=f"At most {max_bytes} bytes.", extra={"maxBytes": max_bytes}
                        )
                    await file.write(chunk)
        except BaseException:
            await anyio.Path(target).unlink(missing_ok=True)
            raise
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
        await self._call("POST", f"/object/{address(bucket, path)}", content=content, headers=headers)

    async def remove(self, bucket: str, paths: Sequence[str]) -> int:
        """How many were there."""
        answer = await self._call("DELETE", f"/object/{quote(bucket)}", json={"prefixes": list(paths)})
        return len(decode(answer, list[Any]))

    async def list(self, bucket: str, folder: str = "") -> list[str]:
        """The names of the objects in a folder, all of them; not of the folders in it."""
        names: list[str] = []
        offset = 0
        while True:
            body = {
                "prefix": folder,
                "limit": PAGE,
                "offset": offset,
                "sortBy": {"column": "name", "order": "asc"},
            }
            page = decode(await self._call("POST", f"/object/list/{quote(bucket)}", json=body), list[Listed])
            names += [each.name for each in page if each.id is not None]
            offset += len(page)
            if len(page) < PAGE:
                return names

    async def ping(self) -> None:
        """Raises when the storage does not answer or refuses our key; a missing bucket is an answer."""
        try:
            await self._call("GET", "/bucket/ping")
        except StorageError as error:
            if error.storage_status != 404:
                raise

    async def probe(self) -> str:
        """ok, unreachable, or Storage's own code of the refusal."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self.ping()
        except StorageError as error:
            return error.storage_code or "refused"
        except (AppError, TimeoutError):
            return "unreachable"
        return "ok"

    async def _call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **body: Any
    ) -> bytes:
        headers = {**self._headers, **(headers or {})}
        try:
            async with self._http.request(method, self._base + path, headers=headers, **body) as response:
                answer = await response.read()
        except FAILURES as error:
            raise unavailable(error) from error
        check(response.status, answer)
        return answer


class StorageProfiles:
    """The embedded provider's voices, kept as objects of one bucket: a key is a path."""

    def __init__(self, storage: Storage, bucket: str = "local-voices") -> None:
        self._storage = storage
        self._bucket = bucket

    async def put(self, key: str, data: bytes) -> None:
        """Raises StorageError (409) when the key is taken."""
        await self._storage.upload(self._bucket, key, data, "application/json")

    async def get(self, key: str) -> bytes | None:
        try:
            return b"".join([chunk async for chunk in self._storage.stream(self._bucket, key)])
        except StorageError as error:
            if error.storage_status == 404:
                return None
            raise

    async def list(self, prefix: str = "") -> list[str]:
        """Every key that starts so, in the folder that the prefix names; not in folders below that."""
        folder, _, _ = prefix.rpartition("/")
        names = await self._storage.list(self._bucket, folder)
        keys = [f"{folder}/{name}" if folder else name for name in names]
        return [key for key in keys if key.startswith(prefix)]

    async def delete(self, key: str) -> None:
        await self._storage.remove(self._bucket, [key])


def upload_place(bucket: str, path: str) -> str:
    return f"/object/upload/sign/{address(bucket, path)}"


def address(bucket: str, path: str) -> str:
    return f"{quote(bucket, safe='')}/{quote(path)}"


def unavailable(error: BaseException) -> StorageUnavailable:
    """Names the failure alone: an error's text may quote a URL that is signed."""
    return StorageUnavailable(internal=type(error).__name__)


def decode(answer: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError as error:
        raise StorageUnavailable(internal=f"not what the storage answers: {error}") from error


def check(http_status: int, answer: bytes) -> None:
    """Raise what a refusal means. What is not the storage's own answer (a proxy's page) is an outage.

    Only a gateway's refusal of our key is taken at its word: that no waiting will cure.
    """
    if http_status < 300:
        return
    try:
        refusal = msgspec.json.decode(answer, type=Refusal)
    except msgspec.DecodeError:
        refusal = Refusal()
    own = int(refusal.status) if str(refusal.status).isdecimal() else 0
    status = own or http_status
    internal = f"HTTP {http_status}, {status} {refusal.code or refusal.error}: {refusal.message}"
    if status >= 500 or status == 429 or not (own or http_status in KEY_REFUSED):
        raise StorageUnavailable(internal=internal)
    raise StorageError(status, refusal.code or refusal.error, internal)
