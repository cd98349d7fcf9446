"""Inspection of a sample: its format, its measures and, in the same decoding pass, the prepared WAV."""

import asyncio
import contextlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from backend.sandbox.errors import InputRefused
from backend.sandbox.pool import Reason, WorkerFailure, WorkerPool

__all__ = ["AudioInspector", "InputRefused", "Inspection"]

PREPARED_RATE = 24_000  # hertz of the prepared WAV: mono, 16-bit
WAV_HEADER = 44  # bytes
MAX_SECONDS = 600.0
FAILURES = {
    Reason.DEADLINE: (
        "decode_timeout",
        "reading the sample took too long; a plain WAV or MP3 is read at once",
    ),
    Reason.MEMORY: ("decode_failed", "reading the sample takes too much memory; save it again as WAV or MP3"),
    Reason.CRASH: ("decode_failed", "the sample could not be read to its end; save it again as WAV or MP3"),
    Reason.FAULT: ("decode_failed", "the sample could not be read; save it again as WAV or MP3"),
    Reason.CLOSED: ("inspector_closed", "the service is shutting down; try again"),
}


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
    """A request to a worker: decode one file."""

    path: str
    prepared: str | None
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
    ) -> None:
        self._max_seconds = max_seconds
        self._max_bytes = max_bytes
        self.pool = WorkerPool(
            "backend.audio.examine", size=workers, wall_seconds=wall_seconds, cpu_seconds=cpu_seconds
        )

    async def inspect(self, path: Path, *, prepared: Path | None = None) -> Inspection:
        """Decode the file once, up to the maximum of seconds; write the prepared WAV if asked.

        Raises InputRefused where nothing can be measured: `invalid_format`, `sample_too_large`,
        `sample_damaged`, `decode_timeout`, `decode_failed`. It leaves no prepared file behind.
        """
        size = (await asyncio.to_thread(path.stat)).st_size
        if size > self._max_bytes:
            raise InputRefused(
                "sample_too_large",
                f"sample too large: {size} bytes, at most {self._max_bytes}",
                {"bytes": size, "max_bytes": self._max_bytes},
            )
        job = InspectionJob(str(path), str(prepared) if prepared else None, self._max_seconds)
        try:
            answer = await self.pool.run(msgspec.msgpack.encode(job))
        except BaseException as error:
            if prepared:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(prepared)  # at once, also when cancelled
            if isinstance(error, WorkerFailure):
                raise InputRefused(*FAILURES[error.reason]) from error
            raise
        return msgspec.msgpack.decode(answer, type=Inspection)

    async def aclose(self) -> None:
        await self.pool.aclose()
