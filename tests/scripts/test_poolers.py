"""Behind a pooler: PgBouncer in both modes, as the guide sets the two addresses."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scripts.doctor.command import examine
from scripts.local.main_job import run_main_job
from scripts.local.product import service_settings
from scripts.local.sample import speak_sample
from scripts.local.supabase.processes import Child
from scripts.local.supabase.stack import Stack
from tests.clusters import temporary_directory
from tests.preloaded import launch
from tests.scripts.poolers import PROGRAM, Pooler, pooled

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs PgBouncer: apt-get install pgbouncer")


@pytest.fixture(scope="module")
def pooler(stack: Stack) -> Iterator[Pooler]:
    with temporary_directory() as folder, pooled(folder, stack.database_url) as running:
        yield running


def settings(stack: Stack, url: str, listen_url: str = "", **more: str) -> dict[str, str]:
    stack.simulator_url = "http://127.0.0.1:1"
    return {
        **service_settings(stack, "local"),
        "DATABASE_URL": url, "LISTEN_DATABASE_URL": listen_url, "DATABASE_PREPARE_THRESHOLD": "", **more,
    }  # fmt: skip


@asynccontextmanager
async def running(stack: Stack, *, url: str, listen_url: str = "", **more: str) -> AsyncIterator[list[Child]]:
    """Service and consumers."""
    stack.api_url = f"http://127.0.0.1:{stack.ports.take()}"
    env = settings(stack, url, listen_url, **more)
    started = []
    try:
        for name, module in (("pooled-service", "backend"), ("pooled-consumers", "queue_consumers")):
            started.append(await stack.processes.launch(name, launch(module, env=env)))
            if module == "backend":
                await started[0].await_url(f"{stack.api_url}/health/ready")
        await started[1].await_output("consuming")
        yield started
    finally:
        for child in reversed(started):
            await stack.processes.stop(child, grace_seconds=30)


async def speak(stack: Stack, folder: Path) -> None:
    sample = folder / "sample.wav"
    transcript = speak_sample(sample)
    done = await run_main_job(stack, "local", sample, transcript, folder / "speech.wav")
    assert done.launchable


def logged(started: list[Child]) -> str:
    return "".join(child.output() for child in started)


@pytest.mark.long
async def test_behind_a_transaction_pooler_with_an_address_to_listen_a_voice_is_cloned(
    stack: Stack, pooler: Pooler, tmp_path: Path
) -> None:
    async with running(stack, url=pooler.transaction, listen_url=pooler.session) as started:
        await started[1].await_output("listening")
        for _ in range(2):  # the second user meets sessions that the first one left
            await speak(stack, tmp_path)
        said = logged(started)
    assert "prepared statement" not in said
    assert '"level":"error"' not in said


async def test_behind_a_transaction_pooler_alone_the_queues_are_polled(
    stack: Stack, pooler: Pooler, tmp_path: Path
) -> None:
    async with running(stack, url=pooler.transaction, POLL_SECONDS="0.5") as started:
        await speak(stack, tmp_path)
        assert '"level":"error"' not in logged(started)


async def found(stack: Stack, url: str, listen_url: str = "", **more: str) -> dict[str, str]:
    """What the doctor says of the database, by part, without the parts that do not run."""
    env = settings(stack, url, listen_url, **more)
    findings = await asyncio.to_thread(examine, env, with_service=False, with_consumers=False)
    return {
        each.part: each.state for each in findings if each.part in ("database", "notifications", "pooler")
    }


async def test_the_doctor_tells_the_modes_apart(stack: Stack, pooler: Pooler) -> None:
    stack.api_url = "http://127.0.0.1:1"
    sound = {"database": "ok", "notifications": "ok", "pooler": "ok"}
    assert await found(stack, pooler.session) == sound
    assert await found(stack, pooler.transaction, pooler.session) == sound
    assert await found(stack, pooler.transaction) == {
        **sound, "notifications": "warning", "pooler": "warning",
    }  # fmt: skip
    prepared = await found(stack, pooler.transaction, pooler.session, DATABASE_PREPARE_THRESHOLD="2")
    assert prepared == {**sound, "pooler": "fault"}
