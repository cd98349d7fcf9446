"""Two workers of one attempt: the create of the first outlasts its settling, and its voice is not lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from backend.lifecycle import enrollment
from backend.lifecycle.claim import queries
from backend.lifecycle.enrollment import process_attempt
from backend.providers.base import EnrollRequest, new_label
from tests.backend.storages import embedded_storage
from tests.backend.workers import PROVIDER, Workers, workers
from tests.fixture import Fixture
from tests.simulators import BytesSample, Simulator, spoken_sample


@pytest.fixture
async def worker(given: Fixture, providers: Simulator, tmp_path: Path) -> AsyncIterator[Workers]:
    providers.reset()
    async with (
        embedded_storage(tmp_path, given.database.dsn("supabase_storage_admin")) as storage,
        workers(given, providers, storage.url) as started,
    ):
        yield started


async def test_a_voice_that_is_reported_while_it_is_looked_up_is_adopted(
    worker: Workers, providers: Simulator
) -> None:
    first, label = await worker.claim(), new_label()
    intent = first.write(label=label, kind="ivc", settle=60, account=worker.provider.accounts[0])
    id_ = await worker.context.database.fetch_value(queries.intend, intent, of=UUID)
    assert id_ is not None
    worker.pass_time()
    providers.fault(PROVIDER, "list", "hang", after_commit=True)  # it lists nothing, and answers late
    second = asyncio.create_task(process_attempt(worker.context, worker.attempt))
    await asyncio.to_thread(providers.wait, PROVIDER, "list")
    sample = BytesSample(spoken_sample(6.0))
    request = EnrollRequest(label=label, name="Ada", language="en", transcript=None, sample=sample)
    made = await worker.provider.enroll(request)
    await enrollment.attach(first, id_, label, made)  # it has lost the lease, so it reports the voice
    providers.release()
    await second
    (kept,) = worker.enrollments()
    assert (kept["status"], kept["provider_voice_id"]) == ("intended", made.provider_voice_id)
    row = worker.row
    assert (row["status"], row["process_count"]) == ("queued", 1), "only the try of the first worker counts"
    await process_attempt(worker.context, worker.attempt)
    assert (worker.row["status"], worker.row["provider_voice_id"]) == ("ready", made.provider_voice_id)
    assert len(providers.voices(PROVIDER)) == len(providers.calls(PROVIDER, "create")) == 1


async def test_a_voice_that_is_reported_after_its_closing_is_an_orphan(
    worker: Workers, providers: Simulator
) -> None:
    first, label = await worker.claim(), new_label()
    intent = first.write(label=label, kind="ivc", settle=60, account=worker.provider.accounts[0])
    id_ = await worker.context.database.fetch_value(queries.intend, intent, of=UUID)
    assert id_ is not None
    worker.pass_time()
    await process_attempt(worker.context, worker.attempt)
    assert worker.row["status"] == "ready"
    sample = BytesSample(spoken_sample(6.0))
    request = EnrollRequest(label=label, name="Ada", language="en", transcript=None, sample=sample)
    late = await worker.provider.enroll(request)
    await enrollment.attach(first, id_, label, late)
    orphan, owned = worker.enrollments()
    assert (orphan["status"], orphan["provider_voice_id"]) == ("orphaned", late.provider_voice_id)
    assert (owned["status"], owned["provider_voice_id"]) == ("attached", worker.row["provider_voice_id"])
    listed = {voice["voice_id"] for voice in providers.voices(PROVIDER)}
    assert listed == {orphan["provider_voice_id"], owned["provider_voice_id"]}
