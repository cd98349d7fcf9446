"""Inspection of a sample: its format, its measures and, in the same decoding pass, the cleaned WAV."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from backend.audio.inspection_frames import Inspection, InspectionJob
from backend.audio.shares import RETRY_SECONDS, Shares
from backend.errors import InspectionUnavailable, Throttled
from backend.sandbox.errors import InputRefused
from backend.sandbox.pool import Reason, WorkerFailure, WorkerPool

MAX_SECONDS = 180.0  # no provider takes more
WAITING = 3  # inspections of one user, beside the running ones
TURN_SECONDS = 5.0  # that a sample from the queue waits for its turn, before its message is read again


class AudioInspector:
    """Inspects in child processes, started when first needed. Close it with `aclose`."""

    def __init__(
        self,
        *,
        max_seconds: float = MAX_SECONDS,
        max_bytes: int = 1 << 28,
        workers: int = 2,
        wall_seconds: float = 120.0,
        cpu_seconds: int = 45,
        memory_bytes: int = 1 << 30,
    ) -> None:
        self._max_seconds = max_seconds
        self._max_bytes = max_bytes
        self._shares = Shares(at_once=max(1, workers // 2), waiting=WAITING)
        self._workers = workers
        self._queued = asyncio.Semaphore(workers)
        self.turns = Shares(at_once=1, waiting=WAITING)  # of an upload: one inspection at a time
        self.pool = WorkerPool(
            "backend.audio.examine",
            size=workers,
            wall_seconds=wall_seconds,
            cpu_seconds=cpu_seconds,
            memory_bytes=memory_bytes,
        )

    async def inspect(
        self,
        original: Path | BinaryIO,
        *,
        prepared: Path | BinaryIO | None = None,
        user: Hashable = None,
        max_seconds: float | None = None,
    ) -> Inspection:
        """Decode the file once, up to `max_seconds`, measure it, and write the cleaned WAV if asked.

        Raises InputRefused for a fault of the sample: `invalid_format`, `sample_too_large`, `sample_damaged`,
        `sample_truncated`, `too_many_samples`, `sample_too_long` (where the file itself says so).
        Raises InspectionUnavailable for everything else, and Throttled where `user` has too many inspections;
        without a user nothing is counted. A path named `prepared` is then removed.
        """
        job = InspectionJob(min(max_seconds or self._max_seconds, self._max_seconds))
        try:
            async with (
                nullcontext() if user is None else self._shares.of(user),
                opened(original, "rb") as source,
                temporary() as tracks,
                opened(prepared, "wb") as target,
            ):
                return await self._inspect(job, source, tracks, target)
        except BaseException as error:
            if isinstance(prepared, Path):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(prepared)  # at once, also when cancelled
            if isinstance(error, WorkerFailure | OSError):
                raise InspectionUnavailable(internal=str(error), failure=kind_of(error)) from error
            raise

    @asynccontextmanager
    async def turn(self, user: Hashable) -> AsyncIterator[None]:
        """A place for a sample from the queue, which is claimed only then: no lease and no step waits long.

        Raises Throttled where none becomes free soon, or `user` waits for too many.
        """
        async with self._shares.of(user):
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    await self._queued.acquire()
            except TimeoutError as error:
                raise Throttled(
                    "Other samples are being inspected.",
                    extra={"limit": self._workers},
                    retry_after=RETRY_SECONDS,
                ) from error
            try:
                yield
            finally:
                self._queued.release()

    async def _inspect(self, job: InspectionJob, *opened: BinaryIO | None) -> Inspection:
        files = [each.fileno() for each in opened if each is not None]
        size = os.fstat(files[0]).st_size
        if size > self._max_bytes:
            raise InputRefused(
                "sample_too_large",
                f"sample too large: {size} bytes, at most {self._max_bytes}",
                {"bytes": size, "limit": self._max_bytes},
            )
        return msgspec.msgpack.decode(
            await self.pool.run(msgspec.msgpack.encode(job), files), type=Inspection
        )

    async def aclose(self) -> None:
        await self.pool.aclose()


def kind_of(error: Exception) -> str:
    """What the end of a worker means for the sample; see InspectionUnavailable."""
    if not isinstance(error, WorkerFailure) or error.reason in {Reason.START, Reason.CLOSED}:
        return "outage"
    return "timeout" if error.reason is Reason.DEADLINE else "crash"


@asynccontextmanager
async def temporary() -> AsyncIterator[BinaryIO]:
    """Without a name, so that nothing is left of it. A worker can make none."""
    made = await asyncio.to_thread(tempfile.TemporaryFile, buffering=0)
    try:
        yield cast(BinaryIO, made)
    finally:
        made.close()


@asynccontextmanager
async def opened(file: Path | BinaryIO | None, mode: str) -> AsyncIterator[Any]:
    """A path is opened here, because a worker can open nothing."""
    if not isinstance(file, Path):
        yield file
        return
    made = await asyncio.to_thread(open, file, mode)
    try:
        yield made
    finally:
        made.close()
