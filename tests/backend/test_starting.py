"""The start of the service and of the consumers: three lines, or every fault at once with its remedy."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from backend.checks.storage import check_storage
from backend.storage.buckets import BUCKETS
from scripts.local.supabase.ports import free_port
from scripts.local.supabase.postgres import Cluster
from scripts.local.supabase.processes import Child, Processes
from tests.backend.conftest import INTERNAL_TOKEN, NOBODY
from tests.backend.storages import (
    SECRET_KEY,
    EmbeddedStorage,
    embedded_storage,
    failing_storage,
    saying,
    supabase,
)
from tests.clusters import Database, cloned_database, temporary_directory
from tests.preloaded import launch

SECRETS = (INTERNAL_TOKEN, SECRET_KEY)
NOWHERE = "postgresql://voice_clone_service:secret@127.0.0.1:1/postgres"


@pytest.fixture(scope="module")
def migrated(cluster: Cluster) -> Iterator[Database]:
    with cloned_database(cluster) as database:
        yield database


@pytest.fixture(scope="module")
async def storage(migrated: Database) -> AsyncIterator[EmbeddedStorage]:
    with temporary_directory() as directory:
        async with embedded_storage(directory, migrated.dsn("supabase_storage_admin")) as running:
            yield running


@pytest.fixture
async def processes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Processes]:
    started = Processes(tmp_path_factory.mktemp("logs"))
    yield started
    await started.stop_all()


def environment(database_url: str, supabase_url: str, **settings: str) -> dict[str, str]:
    port = settings.get("PORT") or str(free_port())
    return {
        "DATABASE_URL": database_url,
        "SUPABASE_URL": supabase_url,
        "SUPABASE_SECRET_KEY": SECRET_KEY,
        "SUPABASE_JWT_SECRET": "a secret of more than thirty-two letters",
        "SUPABASE_JWKS_URL": "off",
        "INTERNAL_TOKEN": INTERNAL_TOKEN,
        "PORT": port,
        "SERVICE_URL": f"http://127.0.0.1:{port}",
        **settings,
    }


async def start(processes: Processes, module: str, env: dict[str, str]) -> Child:
    return await processes.launch(module, launch(module, env=env))


async def refusal(processes: Processes, module: str, env: dict[str, str]) -> list[str]:
    """The faults with which it ends, and nothing else: no traceback, and no line twice."""
    child = await start(processes, module, env)
    async with asyncio.timeout(30):
        assert await child.process.wait() == 1, child.output()
    title, *faults = child.output().splitlines()
    what = "service" if module == "backend" else "consumers"
    assert title == f"The {what} cannot start:"
    assert all(each.startswith("  - ") for each in faults), child.output()
    assert len(set(faults)) == len(faults)
    assert not [secret for secret in (*SECRETS, "wrong-secret") if secret in child.output()]
    return [each.removeprefix("  - ") for each in faults]


def events(child: Child) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in child.output().splitlines()]


def other(url: str, **parts: str) -> str:
    """The same connection, with another part."""
    return make_conninfo(url, **parts)


async def test_a_start_says_in_three_lines_where_it_is_and_what_it_uses(
    migrated: Database, storage: EmbeddedStorage, processes: Processes
) -> None:
    env = environment(migrated.service, storage.url, QWEN_API_KEY="sk-0123456789", QWEN_REGION="singapore")
    service = await start(processes, "backend", env)
    await service.await_url(f"{env['SERVICE_URL']}/health/ready")
    consumers = await start(processes, "queue_consumers", env)
    await consumers.await_output("listening")
    serving, project, providers, *_ = events(service)
    with psycopg.connect(migrated.service) as connection:
        place = (
            f"{connection.info.host}:{connection.info.port}/{connection.info.dbname} as voice_clone_service"
        )
    assert (serving["event"], serving["url"], serving["workers"]) == ("serving", env["SERVICE_URL"], 1)
    assert (project["event"], project["project"], project["database"], project["schema"]) == (
        "project_found", storage.url, place, "version 1",
    )  # fmt: skip
    assert project["buckets"] == ", ".join(BUCKETS)
    assert (providers["event"], providers["default"], providers["providers"]) == (
        "providers_configured", "local", ["local", "qwen (singapore)"],
    )  # fmt: skip
    project, address, consuming, *_ = events(consumers)
    assert (project["event"], project["database"]) == ("project_found", place)
    assert (address["event"], address["url"], address["answers"]) == (
        "service_found", env["SERVICE_URL"], True,
    )  # fmt: skip
    assert consuming["event"] == "consuming"
    assert not [each for each in events(service) + events(consumers) if each["event"] == "not_working_yet"]


@pytest.mark.parametrize("module", ["backend", "queue_consumers"])
async def test_a_wrong_password_is_said_once(
    migrated: Database, storage: EmbeddedStorage, processes: Processes, module: str
) -> None:
    url = other(migrated.service, password="wrong-secret")
    faults = await refusal(processes, module, environment(url, storage.url))
    (fault,) = [each for each in faults if each.startswith("database: ")]
    assert "DATABASE_URL: the login or the password of voice_clone_service is refused" in fault
    assert "alter role voice_clone_service password" in fault


@pytest.mark.parametrize(("host", "address"), [("localhost", "127.0.0.1"), ("::1", "[::1]")])
async def test_a_host_may_be_a_name_or_an_address_of_version_6(
    processes: Processes, host: str, address: str
) -> None:
    env = environment(NOWHERE, NOBODY, HOST=host, SERVICE_URL="")
    service = await start(processes, "backend", env)
    await service.await_url(f"http://{address}:{env['PORT']}/health/live")
    shown = host if host == "localhost" else address
    assert events(service)[0]["url"] == f"http://{shown}:{env['PORT']}"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
async def test_a_host_that_is_not_of_this_machine_is_named(processes: Processes, host: str) -> None:
    faults = await refusal(processes, "backend", environment(NOWHERE, NOBODY, HOST=host))
    assert [each for each in faults if each.startswith(f"port: {host}:")]


async def test_every_fault_is_named_at_once(
    migrated: Database, storage: EmbeddedStorage, processes: Processes
) -> None:
    """Of the settings, of the database, of Storage and of the port; also what would pass by itself."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        env = environment(
            other(migrated.service, password="wrong-secret"),
            storage.url,
            PORT=port,
            LISTEN_DATABASE_URL=NOWHERE,
            SUPABASE_SECRET_KEY="sb_secret_of_another_project",
            CORS_ORIGINS="example.org",
            MAX_JOBS="none",
        )
        faults = await refusal(processes, "backend", env)
    named = "\n".join(faults)
    for fault in (
        "CORS_ORIGINS is not an http(s) URL",
        "MAX_JOBS: ",
        "DATABASE_URL: the login or the password",
        "LISTEN_DATABASE_URL: connection to server",
        "SUPABASE_SECRET_KEY is refused by",
        f"127.0.0.1:{port} is taken by another process. Stop that process, or set PORT to another",
    ):
        assert fault in named
    assert len(faults) == 6


@pytest.mark.parametrize(
    ("name", "url", "fault"),
    [
        ("SUPABASE_URL", "http://[::1", "SUPABASE_URL is not an http(s) URL"),
        ("SUPABASE_URL", "http://localhost:port", "SUPABASE_URL is not an http(s) URL"),
        ("DATABASE_URL", "postgres//localhost", "DATABASE_URL is not a Postgres connection string"),
        ("SUPABASE_SECRET_KEY", "sb_publishable_0123456789", "SUPABASE_SECRET_KEY is a publishable key"),
    ],
)
async def test_a_malformed_setting_is_named_and_the_rest_is_checked(
    storage: EmbeddedStorage, processes: Processes, name: str, url: str, fault: str
) -> None:
    env = environment(NOWHERE, storage.url, **{name: url})
    faults = await refusal(processes, "backend", env)
    assert any(each.startswith(fault) for each in faults), faults
    assert any("127.0.0.1" in each for each in faults) == (name != "DATABASE_URL"), "the database is checked"


async def test_what_may_come_back_is_said_once_and_the_service_starts(processes: Processes) -> None:
    env = environment(NOWHERE, NOBODY)
    service = await start(processes, "backend", env)
    await service.await_url(f"{env['SERVICE_URL']}/health/live")
    said = [each for each in events(service) if each["event"] == "not_working_yet"]
    assert [each["part"] for each in said] == ["database", "storage"]
    assert all(each["level"] == "warning" and each["help"] for each in said)


async def test_consumers_start_without_the_service_and_say_so(
    migrated: Database, storage: EmbeddedStorage, processes: Processes
) -> None:
    env = environment(migrated.service, storage.url, SERVICE_URL="http://127.0.0.1:1")
    consumers = await start(processes, "queue_consumers", env)
    await consumers.await_output("consuming")
    (said,) = [each for each in events(consumers) if each["event"] == "not_working_yet"]
    assert (said["part"], said["found"]) == (
        "service", "http://127.0.0.1:1 cannot be reached: Connection refused",
    )  # fmt: skip
    assert "likeness serve" in said["help"]


async def test_consumers_with_another_token_than_the_service_do_not_start(
    migrated: Database, storage: EmbeddedStorage, processes: Processes
) -> None:
    env = environment(migrated.service, storage.url)
    service = await start(processes, "backend", env)
    await service.await_url(f"{env['SERVICE_URL']}/health/live")
    faults = await refusal(processes, "queue_consumers", {**env, "INTERNAL_TOKEN": "w" * 32})
    assert faults == [
        f"service: {env['SERVICE_URL']} refuses INTERNAL_TOKEN."
        " Give the service and the consumers the same INTERNAL_TOKEN"
    ]


SCHEMAS = {
    "the migrations are missing": "drop function voice_clone.schema_version cascade",
    "version 2 is too new": "create or replace function voice_clone.schema_version()"
    " returns table (version int, oldest_service int) language sql immutable as 'select 2, 2'",
    "version 0 is older": "create or replace function voice_clone.schema_version()"
    " returns table (version int, oldest_service int) language sql immutable as 'select 0, 0'",
    "voice_clone_service may not use it": "revoke usage on schema voice_clone from voice_clone_backend",
}


@pytest.mark.parametrize("fault", SCHEMAS)
async def test_a_schema_that_does_not_fit_stops_both_processes(
    migrated: Database, storage: EmbeddedStorage, processes: Processes, fault: str
) -> None:
    with closing(psycopg.connect(migrated.postgres)) as connection:
        definition = connection.execute(
            "select pg_get_functiondef('voice_clone.schema_version'::regproc)"
        ).fetchone()
        connection.execute(SCHEMAS[fault].encode())
        connection.commit()
        try:
            env = environment(migrated.service, storage.url)
            found = [await refusal(processes, module, env) for module in ("backend", "queue_consumers")]
        finally:
            assert definition is not None
            connection.execute(definition[0].encode())
            connection.execute("grant execute on function voice_clone.schema_version to voice_clone_backend")
            connection.execute("grant usage on schema voice_clone to voice_clone_backend")
            connection.commit()
    for faults in found:
        assert faults[0].startswith(f"schema: {fault}")


async def test_missing_and_public_buckets_are_named_with_their_remedy(
    migrated: Database, storage: EmbeddedStorage
) -> None:
    settings = supabase(storage.url)
    with psycopg.connect(migrated.superuser, autocommit=True) as connection:
        connection.execute("set storage.allow_delete_query = 'true'")
        connection.execute("delete from storage.buckets where id = 'speeches'")
        connection.execute("update storage.buckets set public = true where id = 'recordings'")
        missing, public = await asyncio.to_thread(lambda: list(check_storage(settings)))
        connection.execute("select operations.create_missing_buckets()")
        connection.execute("update storage.buckets set public = false where id = 'recordings'")
    assert (missing.found, public.found) == ("missing: speeches", "open to everyone: recordings")
    assert "operations.create_missing_buckets()" in missing.remedy
    assert missing.prevents_start
    (good,) = await asyncio.to_thread(lambda: list(check_storage(settings)))
    assert good.state == "ok"


REFUSED = b'{"statusCode":"403","error":"Unauthorized","message":"signature","code":"AccessDenied"}'


@pytest.mark.parametrize(
    ("status", "body", "prevents_start", "found"),
    [
        (400, REFUSED, True, "SUPABASE_SECRET_KEY is refused"),
        (401, b'{"message":"Invalid API key"}', True, "SUPABASE_SECRET_KEY is refused"),
        (502, b"<html>Bad Gateway</html>", False, "HTTP 502"),
        (404, b"not found", False, "HTTP 404"),
        (200, b"<html>hello</html>", False, "not of Storage"),
    ],
)
async def test_what_storage_answers_is_told_apart(
    status: int, body: bytes, prevents_start: bool, found: str
) -> None:
    async with failing_storage(saying(status, body)) as url:
        (finding,) = await asyncio.to_thread(lambda: list(check_storage(supabase(url))))
    assert (finding.part, finding.state, finding.prevents_start) == ("storage", "fault", prevents_start)
    assert found in finding.found


def test_a_port_that_is_taken_after_the_check_is_one_line() -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = subprocess.run(
            [sys.executable, "-c", LATE, str(other.getsockname()[1])],
            capture_output=True,
            text=True,
            check=False,
        )
    *_, told, fault = done.stderr.splitlines()
    assert (done.returncode, told) == (1, "The service cannot start:")
    assert "is taken by another process" in fault
    assert "Traceback" not in done.stderr


LATE = """
import sys
from granian.server import Server
from backend.app.server import serve
from backend.settings.sections import read_section
from backend.settings.server import ServerSettings
environ = {"HOST": "127.0.0.1", "PORT": sys.argv[1], "INTERNAL_TOKEN": "x" * 32}
settings = read_section(ServerSettings, environ, [])
serve(Server("backend.app.service:create_worker_app", address="127.0.0.1", port=settings.port), settings)
"""
