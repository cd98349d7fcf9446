"""Liveness checks no other part; readiness names the part that is missing, and recovers by itself."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import httpx
import psycopg
import pytest

from backend.app.queues import QUEUES
from backend.database.schema_version import SCHEMA_VERSION
from scripts.local.supabase.ports import free_port
from scripts.local.supabase.postgres import Cluster
from tests.backend.conftest import NOBODY, Served, served
from tests.backend.storages import Handler, embedded_storage, failing_storage, saying
from tests.clusters import Database, temporary_directory


@pytest.fixture
async def storage_url(database: Database) -> AsyncIterator[str]:
    with temporary_directory() as directory:
        async with embedded_storage(directory, database.dsn("supabase_storage_admin")) as running:
            yield running.url


async def ready(service: Served) -> tuple[int, dict[str, Any]]:
    answer = await service.http.get("/health/ready")
    return answer.status_code, answer.json()


def state(database: str, storage: str, consumers: str = "none") -> tuple[int, dict[str, Any]]:
    good = (database, storage) == ("ok", "ok")
    body = {"status": "ok" if good else "unavailable", "database": database, "storage": storage}
    return 200 if good else 503, {**body, "consumers": consumers}


async def test_with_its_database_and_storage_it_is_ready(
    database: Database, storage_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with served(tmp_path_factory.mktemp("whole"), database.service, storage_url) as service:
        assert await ready(service) == state("ok", "ok")


async def test_alone_it_is_alive_and_not_ready(tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = f"postgresql://voice_clone_service:secret@127.0.0.1:{free_port()}/postgres"
    async with served(tmp_path_factory.mktemp("alone"), nowhere, NOBODY) as service:
        live = await service.http.get("/health/live")
        assert (live.status_code, live.json()) == (200, {"status": "ok"})
        assert await ready(service) == state("unreachable", "unreachable", "unknown")


async def test_a_database_that_was_never_migrated_is_named_so(
    database: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with psycopg.connect(database.superuser, autocommit=True) as connection:
        connection.execute("drop schema voice_clone cascade")
    async with served(tmp_path_factory.mktemp("bare"), database.service) as service:
        assert await ready(service) == state("not_migrated", "unreachable", "unknown")


@pytest.mark.parametrize(
    ("version", "oldest_service", "part"),
    [
        (SCHEMA_VERSION - 1, 0, "not_migrated"),
        (SCHEMA_VERSION + 1, SCHEMA_VERSION + 1, "too_new"),
        (SCHEMA_VERSION + 1, SCHEMA_VERSION, "ok"),
    ],
)
async def test_a_schema_of_another_version_is_named_unless_it_serves_this_service(
    database: Database, tmp_path: Path, version: int, oldest_service: int, part: str
) -> None:
    with psycopg.connect(database.postgres, autocommit=True) as connection:
        connection.execute(
            "create or replace function voice_clone.schema_version()"
            " returns table (version int, oldest_service int)"
            f" language sql immutable as 'select {version}, {oldest_service}'".encode()
        )
    async with served(tmp_path, database.service) as service:
        assert await ready(service) == state(part, "unreachable")


async def test_consumers_are_a_part_without_which_it_is_ready(
    database: Database, storage_url: str, tmp_path: Path
) -> None:
    async with served(tmp_path, database.service, storage_url) as service:
        assert await ready(service) == state("ok", "ok", "none")
        with psycopg.connect(database.service, autocommit=True) as connection:
            queues = [name for name in QUEUES if name != "voice_preview"]
            report = "select voice_clone.report_consumer(%s, 'host', %s, %s)"
            first, second = uuid4(), uuid4()
            connection.execute(report, (first, queues, False))
            assert await ready(service) == state("ok", "ok", "none for voice_preview")
            connection.execute(report, (second, ["voice_preview"], False))
            assert await ready(service) == state("ok", "ok", "ok")
            for each in (first, second):
                connection.execute(report, (each, queues, True))
        _, body = await ready(service)
    assert body["status"] == "ok"
    assert re.fullmatch(r"none since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["consumers"])


BROKEN: dict[str, LiteralString] = {
    "trigger voice_clone_protect_mirror_keys on public.reflections":
        "alter table public.reflections disable trigger voice_clone_protect_mirror_keys",
    "the key of the mirror": "delete from voice_clone.mirror_key",
    "function voice_clone.write_mirrors(uuid[])":
        "alter function voice_clone.write_mirrors(uuid[]) owner to voice_clone_service",
    "index voice_clone.enrollments_open_idx": "drop index voice_clone.enrollments_open_idx",
    "queue voice_mirror": "select pgmq.drop_queue('voice_mirror')",
    "the list of parts": "delete from voice_clone.installation",
    "permission denied": "revoke execute on function voice_clone.missing_parts() from voice_clone_backend",
}  # fmt: skip


@pytest.mark.parametrize("part", BROKEN)
async def test_a_broken_installation_is_not_ready_and_its_log_names_the_part(
    database: Database, tmp_path: Path, part: str
) -> None:
    async with (
        failing_storage(saying(400, NO_BUCKET)) as url,
        served(tmp_path, database.service, url, DATABASE_TIMEOUT_SECONDS="10") as service,
    ):
        assert await ready(service) == state("ok", "ok")
        with psycopg.connect(database.superuser, autocommit=True) as connection:
            connection.execute(BROKEN[part])
        assert await ready(service) == state("incomplete", "ok")
        events = [line for line in service.child.output().splitlines() if "installation_incomplete" in line]
    assert part in events[0]


async def test_it_is_ready_again_when_its_database_is_back(
    own_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dsn = own_cluster.dsn("voice_clone_service")
    async with (
        failing_storage(saying(400, NO_BUCKET)) as url,
        served(tmp_path_factory.mktemp("back"), dsn, url) as service,
    ):
        assert await ready(service) == state("ok", "ok")
        own_cluster.stop(immediately=True)
        assert await ready(service) == state("unreachable", "ok", "unknown")
        own_cluster.start(port=own_cluster.port)
        async with asyncio.timeout(30):
            while await ready(service) != state("ok", "ok"):  # noqa: ASYNC110 - as a load balancer polls
                await asyncio.sleep(0.05)


NO_BUCKET = (
    b'{"statusCode":"404","error":"Bucket not found","message":"Bucket not found","code":"NoSuchBucket"}'
)
REFUSED = b'{"statusCode":"403","error":"Unauthorized","message":"signature","code":"AccessDenied"}'


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (saying(400, REFUSED), "AccessDenied"),
        (saying(401, b'{"message":"No API key found in request"}'), "refused"),
        (saying(502, b"<html>Bad Gateway</html>"), "unreachable"),
    ],
)
async def test_a_storage_that_does_not_serve_us_is_named(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, answer: Handler, status: str
) -> None:
    dsn = cluster.dsn("voice_clone_service")
    async with (
        failing_storage(answer) as url,
        served(tmp_path_factory.mktemp("unserved"), dsn, url) as service,
    ):
        assert await ready(service) == state("ok", status)


async def test_readiness_asks_for_no_token_and_tells_no_secret(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with served(tmp_path_factory.mktemp("open"), cluster.dsn("voice_clone_service")) as service:
        answer: httpx.Response = await service.http.get("/health/ready")
        assert set(answer.json()) == {"status", "database", "storage", "consumers"}
        assert cluster.password not in answer.text + service.child.output()
