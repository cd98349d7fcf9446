"""The file of an employee in Storage: written, removed, and right again after an outage or a crash."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, LiteralString

import httpx
import msgspec
import pytest
from msgspec import structs

from backend.domains.employees.employee_files import file_path, write_file
from backend.errors import AppError, StorageUnavailable
from backend.queues.outcomes import Done
from backend.storage.client import Storage
from backend.web.http_client import HttpClient
from tests.backend.conftest import INTERNAL_TOKEN, served
from tests.backend.storages import (
    SECRET_KEY,
    EmbeddedStorage,
    embedded_storage,
    failing_storage,
    saying,
    supabase,
)
from tests.backend.test_draining import drain
from tests.backend.workers import Workers, workers
from tests.database.test_employee_consents import REVOKE
from tests.database.test_employee_files import Files, ready
from tests.database.test_employee_voices import Staffed
from tests.fixture import Fixture
from tests.queue_consumers.conftest import until
from tests.simulators import Simulator

BUCKET = "deep-fakes"
# The confirmation, which waits for the message's row.
WAITS: LiteralString = """
select pid from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock' and query ~ 'confirm_employee_file'
"""


@pytest.fixture
async def storage(given: Fixture, tmp_path: Path) -> AsyncIterator[EmbeddedStorage]:
    async with embedded_storage(tmp_path, given.database.dsn("supabase_storage_admin")) as running:
        yield running


@pytest.fixture
async def worker(given: Fixture, providers: Simulator, storage: EmbeddedStorage) -> AsyncIterator[Workers]:
    async with workers(given, providers, storage.url) as started:
        yield started


@pytest.fixture
def acme(given: Fixture) -> Staffed:
    return Staffed(given)


async def stored(url: str, acme: Staffed) -> dict[str, Any] | None:
    headers = {"apikey": SECRET_KEY, "authorization": f"Bearer {SECRET_KEY}"}
    path = f"/storage/v1/object/{BUCKET}/{file_path(acme.employee)}"
    async with httpx.AsyncClient(base_url=url, trust_env=False, headers=headers) as http:
        answer = await http.get(path)
    if answer.status_code == 400:
        return None
    assert answer.headers["content-type"].startswith("application/json")
    return msgspec.json.decode(answer.content)


async def test_the_file_is_there_while_the_voice_is(
    given: Fixture, worker: Workers, storage: EmbeddedStorage, acme: Staffed
) -> None:
    attempt = ready(given, acme)
    assert await write_file(worker.context, acme.employee) == Done("written")
    file = await stored(storage.url, acme)
    assert file is not None
    assert (file["attempt_id"], file["voice_id"]) == (str(attempt), acme.row()["voice_id"])
    assert await write_file(worker.context, acme.employee) == Done("nothing_to_do")
    given.one(REVOKE, acme.employee, acme.token)
    assert await write_file(worker.context, acme.employee) == Done("written")
    assert await stored(storage.url, acme) is None


@pytest.mark.parametrize("status", [500, 404])
async def test_an_outage_of_storage_leaves_the_file_wanted(
    given: Fixture, worker: Workers, storage: EmbeddedStorage, acme: Staffed, status: int
) -> None:
    ready(given, acme)
    files = Files(given, acme.employee)
    body = b'{"statusCode": "%d", "code": "x", "error": "x", "message": "x"}' % status
    async with failing_storage(saying(400, body)) as url, HttpClient() as http:
        broken = structs.replace(worker.context, storage=Storage(supabase(url), http))
        for _ in range(3):
            with pytest.raises(AppError) as raised:
                await write_file(broken, acme.employee)
            assert files.row
            assert files.row["error_code"] == raised.value.code
            assert (files.row["written"], files.row["lease_expires_at"]) == (0, None)
            # A refusal wrote nothing; what an unavailable server did, nobody knows.
            assert (files.row["again_at"] is not None) == isinstance(raised.value, StorageUnavailable)
    files.lose_messages()
    files.pass_time("6 minutes")
    assert files.sweep() == 1
    assert await write_file(worker.context, acme.employee) == Done("written")
    assert await stored(storage.url, acme)


async def test_a_service_that_is_killed_before_it_confirms_leaves_the_file_to_the_next(
    given: Fixture, storage: EmbeddedStorage, acme: Staffed, tmp_path: Path
) -> None:
    ready(given, acme)
    files = Files(given, acme.employee)
    async with served(tmp_path / "killed", given.database.service, storage.url) as service:
        with given.superuser.transaction():
            message = given.truth("select msg_id from pgmq.q_employee_files for update")["msg_id"]
            step = asyncio.create_task(
                service.http.post(
                    f"/internal/employees/{acme.employee}/write-file",
                    json={"queue": "employee_files", "msg_id": message},
                    headers={"authorization": f"Bearer {INTERNAL_TOKEN}"},
                )
            )
            await until(lambda: given.service.execute(WAITS).fetchall())
            os.kill(service.child.pid, signal.SIGKILL)
            with suppress(httpx.HTTPError):
                await step
            for waiting in given.service.execute(WAITS).fetchall():
                given.service.execute("select pg_terminate_backend(%s)", (waiting["pid"],))
    assert files.messages == 1
    given.one(REVOKE, acme.employee, acme.token)
    async with served(tmp_path / "next", given.database.service, storage.url) as service:
        await drain(service, "employee_files")
        assert await stored(storage.url, acme), "the lease of the worker that was killed is not over"
        files.pass_time()
        assert files.sweep() == 1
        await drain(service, "employee_files")
        assert await stored(storage.url, acme) is None
    assert files.row
    assert files.row["written"] == files.row["wanted"]
