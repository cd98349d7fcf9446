"""A sample whose inspection loses its lease: what waits for the sample is tried again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest

from backend.domains.employees.recording_clones import clone_stored_recording
from backend.domains.samples.upload_step import finalize_upload
from backend.queues.outcomes import Done, Outcome, Snooze
from tests.backend.storages import embedded_storage
from tests.backend.workers import PROVIDER, Workers, workers
from tests.database.test_employee_voices import Staffed
from tests.database.test_object_triggers import open_one
from tests.database.test_recording_clones import SET, clones
from tests.fixture import Fixture
from tests.queue_consumers.conftest import until
from tests.simulators import Simulator, spoken_sample

# The prepared file is the last thing that a worker stores before it writes that its sample is ready.
HOLD = """
create function public.hold() returns trigger language plpgsql as $$
begin
  perform pg_advisory_xact_lock_shared(4711);
  return new;
end $$;
create trigger hold before insert or update on storage.objects
  for each row when (new.name like '%/prepared.wav') execute function public.hold();
select pg_advisory_lock(4711)
"""
HELD = "select from pg_locks where locktype = 'advisory' and objid = 4711 and not granted"
LOSE = (
    "update public.voice_samples set lease_expires_at = now(), sweep_at = now() where status = 'processing'"
)
Lose = Callable[[], object]


@pytest.fixture
async def worker(given: Fixture, providers: Simulator, tmp_path: Path) -> AsyncIterator[Workers]:
    async with (
        embedded_storage(tmp_path, given.database.dsn("supabase_storage_admin")) as storage,
        workers(given, providers, storage.url) as started,
    ):
        yield started


async def losing_its_lease(given: Fixture, step: Awaitable[Outcome], lose: Lose) -> Outcome:
    """The outcome of the step, whose worker is held up until another one has the sample."""
    given.superuser.execute(HOLD.encode())
    running = asyncio.ensure_future(step)
    await until(lambda: given.superuser.execute(HELD.encode()).fetchall())
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(LOSE.encode())
    lose()
    given.superuser.execute("drop trigger hold on storage.objects; select pg_advisory_unlock(4711)")
    return await running


async def test_a_recording_is_cloned_although_its_inspection_lost_its_lease(
    given: Fixture, worker: Workers
) -> None:
    acme = Staffed(given)
    given.superuser.execute(SET.encode(), (acme.id,))
    path = f"{acme.employee}/{acme.employee}.wav"
    await worker.context.storage.upload("recordings", path, spoken_sample(8.0), "audio/wav", upsert=True)
    clone = clones(given)[-1]["id"]
    sweep = "select * from voice_clone.sweep(100)"
    outcome = await losing_its_lease(
        given, clone_stored_recording(worker.context, clone), lambda: given.service.execute(sweep.encode())
    )
    assert isinstance(outcome, Snooze)
    assert [row["status"] for row in clones(given)] == ["pending"]
    assert await clone_stored_recording(worker.context, clone) == Done("queued")
    assert given.attempt(clone)["status"] == "queued"


async def test_an_upload_is_finalized_although_its_inspection_lost_its_lease(
    given: Fixture, worker: Workers
) -> None:
    user = given.user()
    given.consents[user] = given.consent(user)
    attempt, path = open_one(given, user)
    given.superuser.execute(
        "update public.voice_clone_attempts set provider = %s where id = %s", (PROVIDER, attempt)
    )
    given.superuser.execute("update voice_clone.uploads set bytes = null where attempt_id = %s", (attempt,))
    await worker.context.storage.upload("voice-samples", path, spoken_sample(8.0), "audio/wav")
    other: list[UUID] = []

    def taken() -> None:
        other.append(given.claim_upload(attempt, user)["sample_id"])

    outcome = await losing_its_lease(given, finalize_upload(worker.context, attempt), taken)
    assert isinstance(outcome, Snooze)
    row = given.attempt(attempt)
    assert (row["status"], row["error_code"]) == ("awaiting_upload", None)
    with given.superuser.transaction():  # the other worker was killed
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(LOSE.encode())
    assert await finalize_upload(worker.context, attempt) == Done("queued")
    assert given.attempt(attempt)["status"] == "queued"
