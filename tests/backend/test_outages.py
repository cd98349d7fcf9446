"""What an attempt needs is away for longer than several budgets: no try is counted, and no voice is lost."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from backend.lifecycle.enrollment import process_attempt
from backend.lifecycle.preview import render_preview
from backend.lifecycle.runtime_sync import sync_runtime
from backend.storage.client import Storage
from backend.web.http_client import HttpClient
from tests.backend.storages import embedded_storage, failing_storage, saying, supabase
from tests.backend.workers import PROVIDER, Workers, workers
from tests.fixture import Fixture
from tests.simulators import Simulator

TRIES = 15  # three budgets


@pytest.fixture
async def storage_url(given: Fixture, tmp_path: Path) -> AsyncIterator[str]:
    async with embedded_storage(tmp_path, given.database.dsn("supabase_storage_admin")) as running:
        yield running.url


@pytest.fixture
async def worker(given: Fixture, providers: Simulator, storage_url: str) -> AsyncIterator[Workers]:
    providers.reset()
    async with workers(given, providers, storage_url) as started:
        yield started


async def process(worker: Workers) -> None:
    await process_attempt(worker.context, worker.attempt)
    worker.pass_time()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("throttled", "provider_throttled"),
        ("unavailable", "outcome_unknown"),
        ("bad_gateway", "outcome_unknown"),
        ("slots_full", "provider_full"),
        ("wrong_key", "provider_misconfigured"),
    ],
)
async def test_a_provider_that_is_down_for_three_budgets_uses_up_none(
    worker: Workers, providers: Simulator, fault: str, code: str
) -> None:
    providers.fault(PROVIDER, "create", fault, times=None)
    for _ in range(TRIES):
        await process(worker)
        row = worker.row
        assert (row["status"], row["process_count"], row["error_code"]) == ("queued", 0, code)
    providers.clear_faults()
    await process(worker)
    assert (worker.row["status"], worker.row["waiting_since"]) == ("ready", None)
    (voice,) = providers.voices(PROVIDER)
    assert voice["voice_id"] == worker.row["provider_voice_id"]
    assert [each["status"] for each in worker.enrollments()] == ["closed"] * TRIES + ["attached"]


async def test_a_create_that_took_effect_in_an_outage_is_adopted_and_not_repeated(
    worker: Workers, providers: Simulator
) -> None:
    providers.fault(PROVIDER, "create", "bad_gateway", after_commit=True)
    providers.fault(PROVIDER, "list", "unavailable", times=TRIES)
    for _ in range(TRIES + 1):
        await process(worker)
        assert (worker.row["status"], worker.row["process_count"]) == ("queued", 0)
    await process(worker)
    assert worker.row["status"] == "ready"
    assert len(providers.voices(PROVIDER)) == len(providers.calls(PROVIDER, "create")) == 1


async def test_a_storage_that_is_away_uses_up_no_budget(worker: Workers, providers: Simulator) -> None:
    whole = worker.context
    async with failing_storage(saying(503, b"{}")) as url, HttpClient() as http:
        worker.context = msgspec.structs.replace(whole, storage=Storage(supabase(url), http))
        for _ in range(TRIES):
            await process(worker)
            assert (worker.row["status"], worker.row["process_count"]) == ("queued", 0)
    worker.context = whole
    await process(worker)
    assert worker.row["status"] == "ready"
    assert len(providers.voices(PROVIDER)) == 1


async def test_a_sample_that_is_gone_fails_at_once(worker: Workers) -> None:
    path = f"{worker.user}/{worker.attempt}/prepared.wav"
    await worker.context.storage.remove("voice-samples", [path])
    await process(worker)
    assert (worker.row["status"], worker.row["error_code"]) == ("failed", "sample_missing")


async def test_a_database_that_refuses_a_write_uses_up_no_budget(
    worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = worker.given
    given.superuser.execute("alter function voice_clone.intend_enrollment rename to intend_enrollment_whole")
    given.superuser.execute(
        "create function voice_clone.intend_enrollment(uuid, int, text, text, float8, text) returns uuid"
        " language plpgsql as $$ begin raise exception 'shutting down' using errcode = '57P01'; end $$"
    )
    for _ in range(TRIES):
        await process(worker)
        row = worker.row
        assert (row["status"], row["process_count"]) == ("queued", 0)
        assert row["error_code"] == "database_unavailable"
    with given.superuser.transaction():
        given.superuser.execute(
            "drop function voice_clone.intend_enrollment(uuid, int, text, text, float8, text)"
        )
        given.superuser.execute(
            "alter function voice_clone.intend_enrollment_whole rename to intend_enrollment"
        )
    await process(worker)
    assert worker.row["status"] == "ready"


async def test_an_outage_that_outlasts_its_limit_fails_with_its_cause(
    worker: Workers, providers: Simulator
) -> None:
    providers.fault(PROVIDER, "create", "throttled", times=None)
    await process(worker)
    worker.outlast()
    await process(worker)
    row = worker.row
    assert (row["status"], row["error_code"], row["waiting_since"]) == ("failed", "provider_throttled", None)
    assert row["error_message"].endswith("Retry later, or choose another provider.")
    worker.given.one("select * from voice_clone.retry_attempt(%s, %s)", row["reflection_id"], worker.user)
    await process(worker)
    assert worker.row["status"] == "queued", "a retry waits as long again"


async def test_the_delay_grows_with_the_outage(worker: Workers, providers: Simulator) -> None:
    providers.fault(PROVIDER, "create", "throttled", times=None, retry_after=31_536_000)
    await process_attempt(worker.context, worker.attempt)
    row = worker.row
    assert 0 < (row["not_before"] - row["waiting_since"]).total_seconds() <= 300


async def test_a_refusal_of_the_sample_still_fails_at_once(worker: Workers, providers: Simulator) -> None:
    providers.fault(PROVIDER, "create", "error", status=400, code="invalid_audio")
    await process(worker)
    assert worker.row["status"] == "failed"
    assert [each["status"] for each in worker.enrollments()] == ["closed"]


async def test_runtime_sync_and_preview_outlast_an_outage(worker: Workers, providers: Simulator) -> None:
    providers.fault(PROVIDER, "get", "unavailable", times=TRIES)
    await process(worker)
    for _ in range(TRIES - 1):
        assert (worker.row["runtime_status"], worker.row["sync_count"]) == ("pending", 0)
        await sync_runtime(worker.context, worker.attempt)
        worker.pass_time()
    await sync_runtime(worker.context, worker.attempt)
    assert (worker.row["runtime_status"], worker.row["waiting_since"]) == ("synced", None)
    providers.fault(PROVIDER, "speech", "throttled", times=TRIES)
    for _ in range(TRIES):
        await render_preview(worker.context, worker.attempt)
        worker.pass_time()
        assert (worker.row["preview_status"], worker.row["preview_count"]) == ("required", 0)
    await render_preview(worker.context, worker.attempt)
    assert worker.row["preview_status"] == "rendered"
