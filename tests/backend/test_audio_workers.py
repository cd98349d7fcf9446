"""The worker pool, with handlers that fail. The module is its own worker: see `handle`."""

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from backend.audio.inspect import WAITING, AudioInspector
from backend.errors import InspectionUnavailable, Throttled
from backend.sandbox.errors import InputRefused
from backend.sandbox.pool import Reason, WorkerFailure, WorkerPool
from backend.sandbox.worker import JOBS_ARE_PROCESSES
from tests import audio_samples as samples

seen: list[str] = []  # by this module as a worker's


def load() -> None:
    with open("/etc/hostname"):  # once it is restricted it could not
        seen.append("loaded")


def handle(request: bytes, files: Sequence[BinaryIO] = ()) -> bytes:
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
        case b"see":
            seen.append(rest.decode())
            return repr(seen).encode()
        case b"sleep":
            files[0].write(b"asleep")
            time.sleep(60)
        case b"eat":
            return bytes(4 << 30)[:1]
        case b"die":
            ctypes.string_at(0)
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


@pytest.mark.skipif(not JOBS_ARE_PROCESSES, reason="one process does all jobs")
async def test_a_job_begins_with_what_was_loaded_and_leaves_nothing_to_the_next(pool: WorkerPool) -> None:
    for sample in ("hers", "his"):
        assert await pool.run(b"see " + sample.encode()) == repr(["loaded", sample]).encode()


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


class Pipe:
    """What a job writes into it is read here: so a test knows that the job is at work."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()

    async def first_bytes(self) -> bytes:
        return await asyncio.to_thread(os.read, self._reader, 6)

    def close(self) -> None:
        os.close(self._reader)
        os.close(self.writer)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


async def test_a_worker_killed_during_its_job_fails_only_that_job(pool: WorkerPool, pipe: Pipe) -> None:
    job = asyncio.create_task(pool.run(b"sleep", [pipe.writer]))
    assert await pipe.first_bytes() == b"asleep"
    os.kill(pool.process_ids[0], signal.SIGKILL)
    with pytest.raises(WorkerFailure) as failed:
        await job
    assert failed.value.reason == Reason.CRASH
    assert await pool.run(b"echo next") == b"next"


async def test_a_job_past_its_deadline_is_killed(pipe: Pipe) -> None:
    pool = WorkerPool(__name__, size=1, wall_seconds=1)
    try:
        with pytest.raises(WorkerFailure) as failed:
            await pool.run(b"sleep", [pipe.writer])
        assert failed.value.reason == Reason.DEADLINE
        assert pool.process_ids == []
    finally:
        await pool.aclose()


async def test_a_cancelled_job_leaves_no_process_at_work(pool: WorkerPool, pipe: Pipe) -> None:
    job = asyncio.create_task(pool.run(b"sleep", [pipe.writer]))
    await pipe.first_bytes()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert pool.process_ids == []
    assert await pool.run(b"echo next") == b"next"


async def test_closing_ends_a_running_job(pool: WorkerPool, pipe: Pipe) -> None:
    job = asyncio.create_task(pool.run(b"sleep", [pipe.writer]))
    await pipe.first_bytes()
    await pool.aclose()
    with pytest.raises(WorkerFailure) as failed:
        await job
    assert failed.value.reason == Reason.CLOSED


# -- inspections: what is not the sample's fault is said to be ours


def unbuffered(file: str | int, mode: str) -> Any:
    return open(file, mode, buffering=0)


@contextlib.asynccontextmanager
async def inspecting(**limits: Any) -> AsyncIterator[AudioInspector]:
    inspector = AudioInspector(workers=1, **limits)
    yield inspector
    await inspector.aclose()


async def test_an_inspection_whose_worker_is_killed_is_our_failure_and_the_next_one_works(
    tmp_path: Path,
) -> None:
    mark, prepared = tmp_path / "mark", tmp_path / "prepared.wav"
    os.mkfifo(mark)
    async with inspecting() as inspector:
        job = asyncio.create_task(inspector.inspect(samples.recording(), prepared=mark))
        with await asyncio.to_thread(mark.open, "rb") as written:
            await asyncio.to_thread(written.read, 6)  # the worker is at work
            os.kill(inspector.pool.process_ids[0], signal.SIGKILL)
            with pytest.raises(InspectionUnavailable) as failed:
                await job
        assert failed.value.status == 503
        assert failed.value.headers["Retry-After"]
        assert "mark" not in os.listdir(tmp_path)
        assert (await inspector.inspect(samples.recording(), prepared=prepared)).voiced_seconds > 2
        assert "prepared.wav" in os.listdir(tmp_path)


@pytest.mark.long
async def test_an_inspection_whose_worker_is_frozen_is_our_failure_and_the_next_one_works(
    tmp_path: Path,
) -> None:
    speech, rate = samples.speech()
    short = tmp_path / "short.wav"
    short.write_bytes(samples.wav(speech[:rate], rate))
    async with inspecting(wall_seconds=12) as inspector:
        await inspector.inspect(short)
        os.kill(inspector.pool.process_ids[0], signal.SIGSTOP)
        with pytest.raises(InspectionUnavailable):
            await inspector.inspect(short)
        await inspector.inspect(short)


async def test_an_inspection_without_memory_is_our_failure() -> None:
    async with inspecting(memory_bytes=1) as inspector:
        with pytest.raises(InspectionUnavailable):
            await inspector.inspect(samples.recording())


async def test_an_inspection_that_takes_too_much_cpu_time_is_our_failure(tmp_path: Path) -> None:
    async with inspecting(cpu_seconds=0) as inspector:
        speech, rate = samples.speech()
        long = tmp_path / "long.wav"  # of speech, which costs several seconds of CPU; silence is too cheap
        long.write_bytes(samples.wav(np.tile(speech, 8), rate))
        with pytest.raises(InspectionUnavailable):
            await inspector.inspect(long)


async def test_a_prepared_file_that_cannot_be_written_is_our_failure() -> None:
    async with inspecting() as inspector:
        with unbuffered("/dev/full", "wb") as full, pytest.raises(InspectionUnavailable):
            await inspector.inspect(samples.recording(), prepared=full)


async def test_a_worker_that_cannot_be_started_is_our_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async with inspecting() as inspector:
        monkeypatch.setattr("sys.executable", "/nowhere/python")
        with pytest.raises(InspectionUnavailable):
            await inspector.inspect(samples.recording())


# -- shares


async def test_a_user_with_many_inspections_leaves_a_worker_for_the_others() -> None:
    """The greedy user's workers are frozen: nothing of theirs ends until the other's inspection is done."""
    inspector = AudioInspector(workers=2, wall_seconds=60)
    try:
        await asyncio.gather(*(inspector.inspect(samples.recording(), user=each) for each in "ab"))
        assert len(inspector.pool.process_ids) == 2
        reader, writer = os.pipe()  # full once the worker has written 64 kB
        with unbuffered(reader, "rb") as drain, unbuffered(writer, "wb") as stuck:
            greedy = [
                asyncio.create_task(inspector.inspect(samples.recording(), prepared=stuck, user="greedy"))
                for _ in range(1 + WAITING)
            ]
            await asyncio.to_thread(drain.read, 1)
            with pytest.raises(Throttled) as refused:
                await inspector.inspect(samples.recording(), user="greedy")
            assert (refused.value.code, refused.value.status) == ("too_many_inspections", 429)
            assert refused.value.headers["Retry-After"]
            async with asyncio.timeout(30):
                await inspector.inspect(samples.recording(), user="another")
            assert not any(each.done() for each in greedy)
            for each in greedy:
                each.cancel()
            await asyncio.gather(*greedy, return_exceptions=True)
        await inspector.inspect(samples.recording(), user="greedy")
    finally:
        await inspector.aclose()
