"""A recording that is stored is cloned by itself: once, the newest, and only with consent."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from backend.domains.employees.recording_clones import clone_stored_recording
from backend.queues.outcomes import Done
from tests.backend.storages import embedded_storage
from tests.backend.workers import Workers, workers
from tests.database.test_employee_voices import Staffed
from tests.database.test_recording_clones import SET, clones, sent
from tests.fixture import Fixture, Row
from tests.simulators import Simulator, spoken_sample


@pytest.fixture
async def worker(given: Fixture, providers: Simulator, tmp_path: Path) -> AsyncIterator[Workers]:
    async with (
        embedded_storage(tmp_path, given.database.dsn("supabase_storage_admin")) as storage,
        workers(given, providers, storage.url) as started,
    ):
        yield started


@pytest.fixture
def acme(given: Fixture) -> Staffed:
    made = Staffed(given)
    given.superuser.execute(SET.encode(), (made.id,))
    return made


async def record(worker: Workers, of: UUID, content: bytes) -> UUID:
    """The id of the row that the object made."""
    path = f"{of}/{of}.wav"
    await worker.context.storage.upload("recordings", path, content, "audio/wav", upsert=True)
    return clones(worker.given)[-1]["id"]


def attempts(given: Fixture, of: UUID) -> list[Row]:
    sql = "select * from public.voice_clone_attempts where employee_id = %s order by created_at"
    return given.superuser.execute(sql.encode(), (of,)).fetchall()


async def test_the_newest_recording_is_cloned_once(given: Fixture, worker: Workers, acme: Staffed) -> None:
    older = await record(worker, acme.employee, spoken_sample(8.0))
    newer = await record(worker, acme.employee, spoken_sample(9.0))
    assert sent(given) == [str(older), str(newer)]
    assert await clone_stored_recording(worker.context, older) == Done("nothing_to_do")
    assert await clone_stored_recording(worker.context, newer) == Done("queued")
    assert await clone_stored_recording(worker.context, newer) == Done("nothing_to_do")
    (attempt,) = attempts(given, acme.employee)
    assert (attempt["id"], attempt["status"], attempt["provider"]) == (newer, "queued", "elevenlabs")
    assert [row["status"] for row in clones(given)] == ["superseded", "queued"]


async def test_a_clone_has_the_language_of_its_organization(
    given: Fixture, worker: Workers, acme: Staffed
) -> None:
    speaks = "update public.organizations set recording_language = %s where id = %s"
    given.superuser.execute(speaks.encode(), ("fr", acme.id))
    spoken = await record(worker, acme.employee, spoken_sample(8.0))
    assert await clone_stored_recording(worker.context, spoken) == Done("queued")
    assert [row["language"] for row in attempts(given, acme.employee)] == ["fr"]
    with pytest.raises(psycopg.errors.CheckViolation):
        given.superuser.execute(speaks.encode(), ("French", acme.id))


async def test_a_version_that_is_gone_is_not_cloned(given: Fixture, worker: Workers, acme: Staffed) -> None:
    clone = await record(worker, acme.employee, spoken_sample(8.0))
    given.superuser.execute("update voice_clone.recording_clones set object_version = 'older'")
    assert await clone_stored_recording(worker.context, clone) == Done("recording_replaced")
    await worker.context.storage.remove("recordings", [f"{acme.employee}/{acme.employee}.wav"])
    given.superuser.execute("delete from voice_clone.recording_clones")
    other = await record(worker, acme.employee, spoken_sample(8.0))
    await worker.context.storage.remove("recordings", [f"{acme.employee}/{acme.employee}.wav"])
    assert await clone_stored_recording(worker.context, other) == Done("recording_not_stored")
    assert attempts(given, acme.employee) == []


async def test_without_consent_nothing_happens_and_the_reason_is_kept(
    given: Fixture, worker: Workers, acme: Staffed
) -> None:
    other = given.employee(acme.id)
    clone = await record(worker, other, spoken_sample(8.0))
    assert await clone_stored_recording(worker.context, clone) == Done("consent_required")
    (row,) = clones(given)
    assert (row["status"], row["error_code"]) == ("refused", "consent_required")
    assert attempts(given, other) == []
    silent = await record(worker, acme.employee, b"RIFF" + bytes(2000))
    assert (await clone_stored_recording(worker.context, silent)) == Done("invalid_format")
    assert clones(given)[-1]["error_code"] == "invalid_format"
    gone = "select count(*) from public.voice_samples where employee_id = %s and status <> 'removed'"
    assert given.truth(gone, acme.employee)["count"] == 0
