"""The Storage client: requests to the embedded Storage, and errors of one that fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest

from backend.errors import SampleTooLarge, StorageUnavailable
from backend.storage.buckets import LOCAL_VOICES
from backend.storage.client import PAGE, Storage, StorageProfiles, StorageRefused
from backend.web.http_client import HttpClient
from scripts.local.supabase.postgres import Cluster
from tests.backend.conftest import NOBODY
from tests.backend.storages import (
    SECRET_KEY,
    Handler,
    cut_before,
    cut_midway,
    embedded_storage,
    failing_storage,
    saying,
    silent,
    supabase,
)
from tests.clusters import Database, cloned_database, temporary_directory

BUCKET = "voice-samples"
SOUND = bytes(range(250)) * 4
ODD_NAMES = ["a b.wav", "in/it.wav", "x=1&y=2.wav", "1+1;$@:,*!.wav", "it's (one).wav"]
UNFIT_NAMES = ["ä.wav", "50%.wav", "#1.wav", "a\\b.wav"]


@pytest.fixture(scope="module")
def own_database(cluster: Cluster) -> Iterator[Database]:
    with cloned_database(cluster) as cloned:
        yield cloned


@pytest.fixture(scope="module")
async def url(own_database: Database) -> AsyncIterator[str]:
    with temporary_directory() as directory:
        async with embedded_storage(directory, own_database.dsn("supabase_storage_admin")) as running:
            yield running.url


@pytest.fixture
async def storage(url: str) -> AsyncIterator[Storage]:
    async with HttpClient() as http:
        yield Storage(supabase(url), http)


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    """A folder of this test alone."""
    return f"{abs(hash(request.node.nodeid))}-{time.monotonic_ns()}"


async def content(storage: Storage, path: str) -> bytes:
    return b"".join([chunk async for chunk in storage.stream(BUCKET, path)])


async def test_what_was_uploaded_is_known_and_read_back(storage: Storage, folder: str) -> None:
    path = f"{folder}/take.wav"
    assert await storage.info(BUCKET, path) is None
    await storage.upload(BUCKET, path, SOUND, "audio/wav")
    info = await storage.info(BUCKET, path)
    assert info is not None
    assert (info.name, info.size, info.content_type) == (path, len(SOUND), "audio/wav")
    assert await content(storage, path) == SOUND


async def test_an_upload_in_pieces_is_one_object(storage: Storage, folder: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield SOUND * 20

    await storage.upload(BUCKET, f"{folder}/long.wav", pieces(), "audio/wav")
    assert await content(storage, f"{folder}/long.wav") == SOUND * 800


async def test_a_taken_path_is_refused_unless_it_may_be_overwritten(storage: Storage, folder: str) -> None:
    path = f"{folder}/take.wav"
    await storage.upload(BUCKET, path, b"first", "audio/wav")
    with pytest.raises(StorageRefused) as refused:
        await storage.upload(BUCKET, path, b"second", "audio/wav")
    assert (refused.value.storage_status, refused.value.storage_code) == (409, "KeyAlreadyExists")
    assert await content(storage, path) == b"first"
    await storage.upload(BUCKET, path, b"third", "audio/wav", upsert=True)
    assert await content(storage, path) == b"third"


async def test_a_client_uploads_once_to_a_signed_url_with_no_key(storage: Storage, folder: str) -> None:
    path = f"{folder}/take.wav"
    signed = await storage.create_signed_upload_url(BUCKET, path)
    lasts = signed.expires_at - datetime.now(UTC)
    assert 7000 < lasts.total_seconds() <= 7200
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"content-type": "audio/wav"}
        assert (await client.put(signed.url, content=SOUND, headers=headers)).status_code == 200
        again = await client.put(signed.url, content=b"another", headers=headers)
        assert again.json()["code"] == "KeyAlreadyExists"
        replacing = await storage.create_signed_upload_url(BUCKET, path, upsert=True)
        assert (await client.put(replacing.url, content=b"another", headers=headers)).status_code == 200
    assert await content(storage, path) == b"another"


async def test_a_signed_url_reads_the_object_with_no_key(storage: Storage, folder: str) -> None:
    path = f"{folder}/take.wav"
    with pytest.raises(StorageRefused) as refused:
        await storage.signed_url(BUCKET, path, 60)
    assert refused.value.storage_status == 404
    await storage.upload(BUCKET, path, SOUND, "audio/wav")
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(await storage.signed_url(BUCKET, path, 60))
        assert (answer.content, answer.headers["content-type"]) == (SOUND, "audio/wav")
        expired = await client.get(await storage.signed_url(BUCKET, path, -1))
        assert expired.status_code == 400


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_whatever_a_name_holds_it_is_one_path(storage: Storage, folder: str, name: str) -> None:
    path = f"{folder}/{name}"
    await storage.upload(BUCKET, path, SOUND, "audio/wav")
    info = await storage.info(BUCKET, path)
    assert info is not None
    assert info.name == path
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(await storage.signed_url(BUCKET, path, 60))).content == SOUND
    inner, _, last = path.rpartition("/")
    assert await storage.list(BUCKET, inner) == [last]
    assert await storage.remove(BUCKET, [path, f"{folder}/never"]) == 1
    assert await storage.info(BUCKET, path) is None


@pytest.mark.parametrize("name", UNFIT_NAMES)
async def test_a_name_that_storage_does_not_take_is_refused(storage: Storage, folder: str, name: str) -> None:
    with pytest.raises(StorageRefused) as refused:
        await storage.upload(BUCKET, f"{folder}/{name}", SOUND, "audio/wav")
    assert (refused.value.storage_status, refused.value.storage_code) == (400, "InvalidKey")


async def test_a_download_is_a_file_of_that_size(storage: Storage, folder: str, tmp_path: Path) -> None:
    await storage.upload(BUCKET, f"{folder}/take.wav", SOUND, "audio/wav")
    with (tmp_path / "take").open("wb") as file:
        size = await storage.download_to(BUCKET, f"{folder}/take.wav", file, len(SOUND))
    assert (size, (tmp_path / "take").read_bytes()) == (len(SOUND), SOUND)


async def test_a_download_past_the_limit_is_refused(storage: Storage, folder: str, tmp_path: Path) -> None:
    await storage.upload(BUCKET, f"{folder}/take.wav", SOUND, "audio/wav")
    with (tmp_path / "take").open("wb", buffering=0) as file:
        with pytest.raises(SampleTooLarge, match="too large"):
            await storage.download_to(BUCKET, f"{folder}/take.wav", file, len(SOUND) - 1)
        with pytest.raises(StorageRefused):
            await storage.download_to(BUCKET, f"{folder}/never.wav", file, len(SOUND))
        assert file.tell() < len(SOUND)


async def test_a_listing_has_every_page_and_no_folder(
    storage: Storage, own_database: Database, folder: str
) -> None:
    with psycopg.connect(own_database.superuser, autocommit=True) as connection:
        connection.execute(
            "insert into storage.objects (bucket_id, name) select %s, %s || g from generate_series(1, %s) g",
            [BUCKET, f"{folder}/object-", 2 * PAGE + 1],
        )
        connection.execute(
            "insert into storage.objects (bucket_id, name) values (%s, %s)", [BUCKET, f"{folder}/in/it"]
        )
    listed = await storage.list(BUCKET, folder)
    assert sorted(listed) == sorted(f"object-{number}" for number in range(1, 2 * PAGE + 2))
    assert await storage.list(BUCKET, f"{folder}/nothing") == []


async def test_a_key_of_another_project_is_refused_and_no_outage(url: str) -> None:
    async with HttpClient() as http:
        stranger = Storage(supabase(url, "sb_secret_of_another"), http)
        with pytest.raises(StorageRefused) as refused:
            await stranger.ping()
        assert refused.value.storage_code == "AccessDenied"
        assert "sb_secret" not in f"{refused.value.internal} {refused.value.message}"


async def test_profiles_are_kept_listed_and_removed_by_key(storage: Storage, folder: str) -> None:
    profiles = StorageProfiles(storage, LOCAL_VOICES)
    assert await profiles.get(f"{folder}/ada") is None
    for name in ("ada", "adam", "bob", "in/ada"):
        await profiles.put(f"{folder}/{name}", b"{}")
    with pytest.raises(StorageRefused) as taken:
        await profiles.put(f"{folder}/ada", b"{}")
    assert taken.value.storage_status == 409
    assert await profiles.get(f"{folder}/ada") == b"{}"
    assert sorted(await profiles.list(f"{folder}/ada")) == [f"{folder}/ada", f"{folder}/adam"]
    await profiles.delete(f"{folder}/ada")
    await profiles.delete(f"{folder}/ada")
    assert await profiles.get(f"{folder}/ada") is None


# -- a storage that fails


async def read_all(storage: Storage) -> object:
    return await content(storage, "a/b.wav")


OPERATIONS: dict[str, Callable[[Storage], Awaitable[object]]] = {
    "upload url": lambda storage: storage.create_signed_upload_url(BUCKET, "a/b.wav"),
    "signed url": lambda storage: storage.signed_url(BUCKET, "a/b.wav", 60),
    "info": lambda storage: storage.info(BUCKET, "a/b.wav"),
    "upload": lambda storage: storage.upload(BUCKET, "a/b.wav", SOUND, "audio/wav"),
    "large upload": lambda storage: storage.upload(BUCKET, "a/b.wav", SOUND * 3000, "audio/wav"),
    "remove": lambda storage: storage.remove(BUCKET, ["a/b.wav"]),
    "list": lambda storage: storage.list(BUCKET, "a"),
    "stream": read_all,
    "ping": lambda storage: storage.ping(),
    "profile": lambda storage: StorageProfiles(storage, LOCAL_VOICES).get("a/b"),
}
TELLING = {"upload url", "signed url", "info", "remove", "list"}  # whose answer is read as JSON

OUTAGES: dict[str, Handler] = {
    "500": saying(500, b'{"statusCode":"500","error":"InternalError","message":"","code":"InternalError"}'),
    "544 in a 400": saying(400, b'{"statusCode":"544","error":"DatabaseTimeout","message":"timed out"}'),
    "429": saying(429, b'{"statusCode":"429","error":"too_many","message":"slow down","code":"SlowDown"}'),
    "a proxy's 502": saying(502, b"<html>Bad Gateway</html>", "text/html"),
    "a proxy's 404": saying(404, b"<html>Not Found</html>", "text/html"),
    "a gateway's 404": saying(404, b'{"message":"no Route matched with those values"}'),
    "a cut connection": cut_before,
    "a cut answer": cut_midway,
    "silence": silent,
}
NONSENSE: dict[str, Handler] = {
    "a page": saying(200, b"<html>Welcome</html>", "text/html"),
    "nothing": saying(200, b""),
    "another object": saying(200, b'{"unexpected":1}'),
    "null": saying(200, b"null"),
}


async def outage(answer: Handler, operation: str) -> StorageUnavailable:
    async with failing_storage(answer) as url, HttpClient(read_seconds=0.2) as http:
        with pytest.raises(StorageUnavailable) as failed:
            await OPERATIONS[operation](Storage(supabase(url), http))
    return failed.value


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("how", OUTAGES)
async def test_a_storage_that_fails_is_an_outage_that_tells_no_secret(how: str, operation: str) -> None:
    error = await outage(OUTAGES[how], operation)
    assert (error.status, error.code, error.headers["Retry-After"]) == (503, "storage_unavailable", "2")
    assert error.internal
    assert SECRET_KEY not in f"{error.internal} {error.message}"


@pytest.mark.parametrize("operation", sorted(TELLING))
@pytest.mark.parametrize("what", NONSENSE)
async def test_an_answer_that_is_not_the_storages_is_an_outage(what: str, operation: str) -> None:
    error = await outage(NONSENSE[what], operation)
    assert str(error.internal).startswith("not a response of Storage")


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_storage_that_is_not_there_is_an_outage(operation: str) -> None:
    async with HttpClient() as http:
        with pytest.raises(StorageUnavailable):
            await OPERATIONS[operation](Storage(supabase(NOBODY), http))


@pytest.mark.parametrize("status", [401, 403])
async def test_a_gateway_that_refuses_the_key_is_a_refusal(status: int) -> None:
    body = b'{"message":"Invalid authentication credentials"}'
    async with failing_storage(saying(status, body)) as url, HttpClient() as http:
        with pytest.raises(StorageRefused) as refused:
            await Storage(supabase(url), http).ping()
    assert refused.value.storage_status == status


async def test_a_download_that_is_cut_is_an_outage(tmp_path: Path) -> None:
    async with failing_storage(cut_midway) as url, HttpClient() as http:
        with (tmp_path / "a").open("wb") as file, pytest.raises(StorageUnavailable):
            await Storage(supabase(url), http).download_to(BUCKET, "a.wav", file, 2_000_000)


async def test_a_disk_that_is_full_is_no_fault_of_storage() -> None:
    async with failing_storage(saying(200, SOUND)) as url, HttpClient() as http:
        full = await asyncio.to_thread(Path("/dev/full").open, "wb", buffering=0)
        with full, pytest.raises(OSError, match="No space left"):
            await Storage(supabase(url), http).download_to(BUCKET, "a.wav", full, 2_000_000)
