"""Reads the mark of a file that anybody sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from backend.errors import Throttled, VerificationUnavailable
from backend.provenance.frames import EXPLANATIONS, Verification, VerifyJob
from backend.sandbox.pool import Reason, WorkerFailure, WorkerPool

MOST_BYTES = 16 * 1024 * 1024  # of a file that is sent to the service
PLACES = 8  # files in memory at once
RETRY_SECONDS = 2.0
OURS = {Reason.START, Reason.CLOSED}


class MarkReader:
    """Starts a worker when the first file is verified. Close it with `aclose`."""

    def __init__(self, anchors: str, *, memory_bytes: int = 1 << 29) -> None:
        self._anchors = anchors
        self._places = asyncio.Semaphore(PLACES)
        self.pool = WorkerPool(
            "backend.provenance.verify_job",
            size=1,
            wall_seconds=10.0,
            cpu_seconds=5,
            memory_bytes=memory_bytes,
        )

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Of a file that is sent. Raises Throttled where all are taken; nobody waits with a body."""
        if self._places.locked():
            raise Throttled(
                "Other files are being verified.", extra={"limit": PLACES}, retry_after=RETRY_SECONDS
            )
        async with self._places:
            yield

    async def read(self, audio: bytes, manifest: bytes | None = None) -> Verification:
        """With the manifest that was kept beside the audio, or with the one inside.

        A file that ends its worker is unreadable. Raises VerificationUnavailable where none starts.
        """
        job = VerifyJob(audio=audio, anchors=self._anchors, manifest=manifest)
        try:
            answer = await self.pool.run(msgspec.msgpack.encode(job))
        except WorkerFailure as error:
            if error.reason in OURS:
                raise VerificationUnavailable(internal=str(error)) from error
            return Verification(verdict="unreadable", explanation=EXPLANATIONS["unreadable"])
        return msgspec.json.decode(answer, type=Verification)

    async def aclose(self) -> None:
        await self.pool.aclose()
