"""Drains that pg_cron and pg_net start: enough without any consumer, and nothing is done twice beside one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
from psycopg.rows import dict_row

from scripts.local.supabase.cron import Cron, opened
from scripts.local.supabase.postgres import HERE
from scripts.local.supabase.processes import Processes
from tests.backend.conftest import INTERNAL_TOKEN, Served, served
from tests.backend.storages import SECRET_KEY, embedded_storage
from tests.backend.test_pg_cron import Owner, steps
from tests.fixture import Fixture
from tests.preloaded import launch
from tests.simulators import ELEVENLABS_KEY, Simulator, simulator, spoken_sample

USERS, OF_EACH = 10, 10
WAV = {"content-type": "audio/wav"}
TICK_SECONDS = 0.2  # of the scheduler; pg_cron's is five seconds
PATIENCE = 240
OPEN = "select count(*) from public.voice_clone_attempts where status <> 'ready'"
UNMIRRORED = "select count(*) from public.reflections where voice ->> 'cloneStatus' is distinct from 'ready'"
WAITING = (
    "select coalesce(sum(queue_length + deferred_length), 0)::int as count from operations.queue_metrics()"
)


@pytest.fixture(scope="module")
def quick_providers() -> Iterator[Simulator]:
    with simulator("--instant") as started:
        yield started


class Scheduler:
    """What stands for pg_cron and pg_net, with each interval of the runbook shortened to a tick."""

    def __init__(self, owner: Owner, cron: Cron) -> None:
        self.owner, self.cron = owner, cron
        self.answers: list[int] = []  # once it has stopped

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(
                self.owner.execute, "update cron.job set scheduled_at = now() - interval '2 days'"
            )
            self.cron.forget()
            await self.cron.tick()
            await asyncio.sleep(TICK_SECONDS)


@asynccontextmanager
async def scheduling(given: Fixture, service: Served) -> AsyncIterator[Scheduler]:
    with given.superuser.transaction():
        given.superuser.execute((HERE / "cron.sql").read_bytes())
    with Owner.connect(given.database.postgres, autocommit=True, row_factory=dict_row) as owner:
        for step in steps()[:-1]:
            owner.execute(step.encode())
        url = str(service.http.base_url).rstrip("/")
        for name, value in (("likeness_url", url), ("likeness_internal_token", INTERNAL_TOKEN)):
            owner.execute("update vault.secrets set secret = %s where name = %s", (value, name))
        async with opened(given.database.postgres) as cron:
            scheduler = Scheduler(owner, cron)
            running = asyncio.create_task(scheduler.run())
            try:
                yield scheduler
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await cron.finish()
                answers = owner.execute("select status_code from net._http_response").fetchall()
                scheduler.answers = [answer["status_code"] for answer in answers]


@asynccontextmanager
async def consumers(given: Fixture, service: Served, logs: Path) -> AsyncIterator[None]:
    processes = Processes(logs)
    env = {
        "DATABASE_URL": given.database.service,
        "SERVICE_URL": str(service.http.base_url).rstrip("/"),
        "INTERNAL_TOKEN": INTERNAL_TOKEN,
    }
    child = await processes.launch("consumers", launch("queue_consumers", env=env))
    try:
        await child.await_output("listening")
        yield
    finally:
        await processes.stop_all()


async def queue_attempts(given: Fixture, service: Served, storage_url: str) -> list[UUID]:
    """Of ten users with two reflections each; the samples are in Storage."""
    sample = spoken_sample(6.0)
    made: list[UUID] = []
    for _ in range(USERS):
        user = given.user()
        given.consents[user] = given.consent(user)
        for n in range(OF_EACH):
            attempt = given.open(user, given.reflection(user) if n < 2 else None)
            given.superuser.execute(
                "update public.voice_clone_attempts set provider = 'elevenlabs' where id = %s", (attempt,)
            )
            path = f"{user}/{attempt}/prepared.wav"
            stored = await service.http.post(
                f"{storage_url}/storage/v1/object/voice-samples/{path}", content=sample,
                headers={"apikey": SECRET_KEY, "authorization": f"Bearer {SECRET_KEY}"} | WAV,
            )  # fmt: skip
            assert stored.status_code == 200, stored.text
            given.queue(attempt, user)
            given.superuser.execute(
                "update public.voice_samples set prepared_bytes = %s where id = %s",
                (len(sample), given.attempt(attempt)["sample_id"]),
            )
            made.append(attempt)
    return made


async def until_done_with_all(given: Fixture) -> None:
    async with asyncio.timeout(PATIENCE):
        while any(given.truth(query)["count"] for query in (OPEN, UNMIRRORED, WAITING)):  # noqa: ASYNC110
            await asyncio.sleep(TICK_SECONDS)


@pytest.mark.parametrize("beside_consumers", [False, True])
async def test_drains_bring_a_hundred_attempts_to_ready_and_do_nothing_twice(
    given: Fixture, quick_providers: Simulator, tmp_path: Path, *, beside_consumers: bool
) -> None:
    quick_providers.reset()
    settings = {
        "ELEVENLABS_API_KEY": ELEVENLABS_KEY,
        "ELEVENLABS_BASE_URL": f"{quick_providers.url}/elevenlabs",
        "DATABASE_TIMEOUT_SECONDS": "10",
        "MAX_SAMPLE_BYTES": "2000000",
    }
    async with AsyncExitStack() as until_done:
        enter = until_done.enter_async_context
        storage = await enter(embedded_storage(tmp_path, given.database.dsn("supabase_storage_admin")))
        service = await enter(served(tmp_path, given.database.service, storage.url, **settings))
        attempts = await queue_attempts(given, service, storage.url)
        if beside_consumers:
            await enter(consumers(given, service, tmp_path))
        scheduler = await enter(scheduling(given, service))
        await until_done_with_all(given)
    rows = [given.attempt(attempt) for attempt in attempts]
    assert len(rows) == USERS * OF_EACH
    assert {(row["status"], row["process_count"]) for row in rows} == {("ready", 1)}
    of_reflections = {(row["runtime_status"], row["preview_status"]) for row in rows if row["reflection_id"]}
    assert of_reflections == {("synced", "rendered")}
    assert len(quick_providers.calls("elevenlabs", "create")) == len(attempts)
    assert len({voice["label"] for voice in quick_providers.voices("elevenlabs")}) == len(attempts)
    claims = "select count(*) from voice_clone.events where 'claimed' = any (events) group by attempt_id"
    assert {row["count"] for row in given.superuser.execute(claims)} == {1}
    assert set(scheduler.answers) == {200}
    dead = "select sum(dead_length)::int as count from operations.queue_metrics()"
    assert given.truth(dead)["count"] == 0
