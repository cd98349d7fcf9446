"""Inspection of a sample: its format, its measures and, in the same decoding pass, the prepared WAV."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from backend.audio.shares import Shares
from backend.errors import InspectionUnavailable
from backend.sandbox.errors import InputRefused
from backend.sandbox.pool import Reason, WorkerFailure, WorkerPool

__all__ = ["AudioInspector", "InputRefused", "Inspection"]

PREPARED_RATE = 24_000  # hertz of the prepared WAV: mono, 16-bit
WAV_HEADER = 44  # bytes
MAX_SECONDS = 600.0
WAITING = 3  # inspections of one user, beside the running ones


class Inspection(Struct, frozen=True, kw_only=True):
    """Seconds, hertz, decibels of full scale. The first fields describe the file, the others its audio."""

    container: str
    codec: str
    content_type: str  # by content
    bytes: int
    sample_rate: int
    channels: int
    seconds: float  # decoded; a lower bound when `cut_short`
    cut_short: bool  # decoding stopped at the maximum
    declared_seconds: float | None  # what the header promises, where headers do
    truncated: bool  # the file ends before that
    damaged_share: float  # of its packets
    voiced_seconds: float  # of speech, pauses left out
    longest_speech_seconds: float  # pauses up to half a second included
    silence_ratio: float
    peak_dbfs: float  # as recorded, as is the next
    clipped_share: float
    loudness_lufs: float | None  # None: too quiet or too short to have one
    noise_floor_dbfs: float
    snr_db: float | None  # None without speech
    pitch_hz: float | None  # median
    prepared_bytes: int  # of the prepared WAV, written or not


class InspectionJob(Struct, frozen=True):
    """A request to a worker: decode the first file, write the prepared WAV into the second if any."""

    max_seconds: float


class AudioInspector:
    """Inspects in child processes, started when first needed. Close it with `aclose`."""

    def __init__(
        self,
        *,
        max_seconds: float = MAX_SECONDS,
        max_bytes: int = 1 << 28,
        workers: int = 2,
        wall_seconds: float = 20.0,
        cpu_seconds: int = 10,
        memory_bytes: int = 512 << 20,
    ) -> None:
        self._max_seconds = max_seconds
        self._max_bytes = max_bytes
        self._shares = Shares(at_once=max(1, workers // 2), waiting=WAITING)
        self.turns = Shares(at_once=1, waiting=WAITING)  # of an upload: one inspection at a time
        self.pool = WorkerPool(
            "backend.audio.examine",
            size=workers,
            wall_seconds=wall_seconds,
            cpu_seconds=cpu_seconds,
            memory_bytes=memory_bytes,
        )

    async def inspect(
        self, original: Path | BinaryIO, *, prepared: Path | BinaryIO | None = None, user: Hashable = None
    ) -> Inspection:
        """Decode the file once, up to the maximum of seconds; write the prepared WAV if asked.

        Raises InputRefused for a fault of the sample: `invalid_format`, `sample_too_large`, `sample_damaged`,
        `too_many_samples`. Raises InspectionUnavailable for everything else, and Throttled where `user` has
        too many inspections. A path named `prepared` is then removed.
        """
        try:
            async with (
                self._shares.of(user),
                opened(original, "rb") as source,
                opened(prepared, "wb") as target,
            ):
                return await self._inspect(source, target)
        except BaseException as error:
            if isinstance(prepared, Path):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(prepared)  # at once, also when cancelled
            if isinstance(error, WorkerFailure | OSError):
                raise InspectionUnavailable(internal=str(error), failure=kind_of(error)) from error
            raise

    async def _inspect(self, source: BinaryIO | None, target: BinaryIO | None) -> Inspection:
        files = [each.fileno() for each in (source, target) if each is not None]
        size = os.fstat(files[0]).st_size
        if size > self._max_bytes:
            raise InputRefused(
                "sample_too_large",
                f"sample too large: {size} bytes, at most {self._max_bytes}",
                {"bytes": size, "max_bytes": self._max_bytes},
            )
        job = InspectionJob(self._max_seconds)
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
