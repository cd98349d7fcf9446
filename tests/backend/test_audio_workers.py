"""The worker pool, with handlers that fail. The module is its own worker: see `handle`."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from backend.audio.inspect import AudioInspector
from backend.sandbox.errors import InputRefused
from backend.sandbox.pool import Reason, WorkerFailure, WorkerPool
from tests import audio_samples as samples


def handle(request: bytes) -> bytes:
    word, _, rest = request.partition(b" ")
    match word:
        case b"echo":
            print("a library that prints does not disturb the answer")
            return rest
        case b"refuse":
            raise InputRefused("sample_damaged", "no", {"seconds": 1.5})
        case b"spin":
            while True:
                pass
        case b"sleep":
            Path(rest.decode()).write_bytes(b"")  # a FIFO: blocks until it is read
            time.sleep(60)
        case b"eat":
            return bytes(4 << 30)[:1]
        case b"die":
            os.kill(os.getpid(), signal.SIGSEGV)
        case b"environment":
            return " ".join(os.environ).encode()
    raise ValueError("what?")


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(__name__, size=1, wall_seconds=30, cpu_seconds=1)
    yield pool
    await pool.aclose()
    assert pool.process_ids == []


async def test_a_worker_stays_for_the_next_job(pool: WorkerPool) -> None:
    big = b"x" * 3_000_000
    assert await pool.run(b"echo " + big) == big
    first = pool.process_ids
    assert await asyncio.gather(*(pool.run(b"echo %d" % n) for n in range(20))) == [
        b"%d" % n for n in range(20)
    ]
    assert pool.process_ids == first


async def all_ended(pool: WorkerPool) -> None:
    async with asyncio.timeout(20):
        while pool.process_ids:  # noqa: ASYNC110 - the end of a process sets no event
            await asyncio.sleep(0.01)


async def test_an_idle_worker_ends_and_the_next_job_starts_another() -> None:
    pool = WorkerPool(__name__, size=1, idle_seconds=0.2)
    try:
        await pool.run(b"echo first")
        (first,) = pool.process_ids
        await all_ended(pool)
        assert await pool.run(b"echo next") == b"next"
        (second,) = pool.process_ids
        assert second != first
    finally:
        await pool.aclose()


async def test_a_worker_that_is_used_stays_and_the_other_ends() -> None:
    pool = WorkerPool(__name__, size=2, idle_seconds=1.0)
    try:
        await asyncio.gather(pool.run(b"echo a"), pool.run(b"echo b"))
        async with asyncio.timeout(20):
            while len(pool.process_ids) > 1:
                assert await pool.run(b"echo again") == b"again"
                await asyncio.sleep(0.01)
        (kept,) = pool.process_ids
        await pool.run(b"echo again")
        assert pool.process_ids == [kept]
    finally:
        await pool.aclose()


async def test_a_job_that_comes_while_its_worker_ends_is_done() -> None:
    pool = WorkerPool(__name__, size=1, idle_seconds=0.0)
    try:
        for steps in range(8):  # of the event loop, on each of which the worker may be ending
            assert await pool.run(b"echo %d" % steps) == b"%d" % steps
            for _ in range(steps):
                await asyncio.sleep(0)
    finally:
        await pool.aclose()


async def test_a_refusal_arrives_whole_and_the_worker_stays(pool: WorkerPool) -> None:
    with pytest.raises(InputRefused) as refused:
        await pool.run(b"refuse")
    assert (refused.value.code, refused.value.message, refused.value.details) == (
        "sample_damaged",
        "no",
        {"seconds": 1.5},
    )
    assert len(pool.process_ids) == 1


@pytest.mark.parametrize(
    ("request_", "reason"),
    [(b"spin", Reason.DEADLINE), (b"eat", Reason.MEMORY), (b"die", Reason.CRASH), (b"what", Reason.FAULT)],
)
async def test_a_job_that_misbehaves_fails_alone(request_: bytes, reason: Reason, pool: WorkerPool) -> None:
    with pytest.raises(WorkerFailure) as failed:
        await pool.run(request_)
    assert failed.value.reason == reason, failed.value
    assert await pool.run(b"echo still here") == b"still here"


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A FIFO: reading it blocks until its writer has closed it."""
    os.mkfifo(tmp_path / "mark")
    return tmp_path / "mark"


async def test_a_worker_killed_during_its_job_fails_only_that_job(pool: WorkerPool, mark: Path) -> None:
    job = asyncio.create_task(pool.run(b"sleep %s" % bytes(mark)))
    await asyncio.to_thread(mark.read_bytes)
    os.kill(pool.process_ids[0], signal.SIGKILL)
    with pytest.raises(WorkerFailure) as failed:
        await job
    assert failed.value.reason == Reason.CRASH
    assert await pool.run(b"echo next") == b"next"


async def test_a_job_past_its_deadline_is_killed(mark: Path) -> None:
    pool = WorkerPool(__name__, size=1, wall_seconds=1)
    try:
        with pytest.raises(WorkerFailure) as failed:
            await pool.run(b"sleep %s" % bytes(mark))  # which is not read
        assert failed.value.reason == Reason.DEADLINE
        assert pool.process_ids == []
    finally:
        await pool.aclose()


async def test_a_cancelled_job_leaves_no_process_at_work(pool: WorkerPool, mark: Path) -> None:
    job = asyncio.create_task(pool.run(b"sleep %s" % bytes(mark)))
    await asyncio.to_thread(mark.read_bytes)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert pool.process_ids == []
    assert await pool.run(b"echo next") == b"next"


async def test_closing_ends_a_running_job(pool: WorkerPool, mark: Path) -> None:
    job = asyncio.create_task(pool.run(b"sleep %s" % bytes(mark)))
    await asyncio.to_thread(mark.read_bytes)
    await pool.aclose()
    with pytest.raises(WorkerFailure) as failed:
        await job
    assert failed.value.reason == Reason.CLOSED


async def test_a_worker_sees_no_secret_of_the_service(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_x")
    assert b"SECRET" not in await pool.run(b"environment")


async def test_an_inspection_whose_worker_is_killed_says_so_and_the_next_one_works(
    mark: Path, tmp_path: Path
) -> None:
    inspector = AudioInspector(workers=1)
    try:
        job = asyncio.create_task(inspector.inspect(samples.recording(), prepared=mark))
        with await asyncio.to_thread(mark.open, "rb"):  # the worker writes, and nothing reads
            os.kill(inspector.pool.process_ids[0], signal.SIGKILL)
            with pytest.raises(InputRefused) as failed:
                await job
        assert failed.value.code == "decode_failed"
        assert "mark" not in os.listdir(tmp_path)
        prepared = tmp_path / "prepared.wav"
        assert (await inspector.inspect(samples.recording(), prepared=prepared)).voiced_seconds > 2
        assert "prepared.wav" in os.listdir(tmp_path)
    finally:
        await inspector.aclose()


async def test_decoding_that_takes_too_much_cpu_time_is_a_timeout(tmp_path: Path) -> None:
    inspector = AudioInspector(workers=1, cpu_seconds=0)
    try:
        speech, rate = samples.speech()
        long = tmp_path / "long.wav"  # of speech, which costs several seconds of CPU; silence is too cheap
        long.write_bytes(samples.wav(np.tile(speech, 80), rate))
        with pytest.raises(InputRefused) as failed:
            await inspector.inspect(long)
        assert failed.value.code == "decode_timeout"
    finally:
        await inspector.aclose()
