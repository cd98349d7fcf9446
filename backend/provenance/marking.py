"""The one function that marks audio: a signed C2PA manifest inside of the file, or beside it.

C2PA's library reads the provider's bytes in a sandboxed worker, which has no key and no network. What is to
be signed comes back over a socket, at most once for each file.
"""

import asyncio
import contextlib
import socket
from typing import Any

import msgspec

from backend.errors import MarkingUnavailable
from backend.provenance.formats import MARKABLE, WAV, AudioFormat
from backend.provenance.frames import MOST_SIGNED, Marked, MarkJob
from backend.provenance.manifest import Origin, definition, tags
from backend.provenance.signing import SigningFailed, SigningKey
from backend.provenance.stamp_bytes import NotStamped
from backend.provenance.time_stamps import TimeStamper
from backend.sandbox.pool import WorkerFailure, WorkerPool
from backend.web.logs import log

WORKERS = 2
MEMORY = 1 << 30  # bytes: the longest speech, a few times
WALL_SECONDS, CPU_SECONDS = 60.0, 40  # an MP3 of the longest speech takes about ten


class AudioMarker:
    """Starts a worker when the first audio is marked. Close it with `aclose`."""

    def __init__(self, key: SigningKey, stamper: TimeStamper | None = None) -> None:
        self.key = key
        self._stamper = stamper
        self.pool = WorkerPool(
            "backend.provenance.mark_job",
            size=WORKERS,
            memory_bytes=MEMORY,
            wall_seconds=WALL_SECONDS,
            cpu_seconds=CPU_SECONDS,
        )

    async def mark(self, audio: bytes, content_type: str, origin: Origin) -> bytes:
        """The same audio with its mark inside. Raises MarkingUnavailable; then nothing may leave."""
        if content_type not in MARKABLE:
            raise ValueError(f"no container for a mark: {content_type}")
        return (await self._run(audio, content_type, origin)).audio

    async def mark_as(self, speech: bytes, wanted: AudioFormat, origin: Origin) -> Marked:
        """A WAV in another format, with its mark inside or beside it. Raises MarkingUnavailable."""
        if wanted == WAV:
            return await self._run(speech, WAV.content_type, origin)
        return await self._run(speech, WAV.content_type, origin, format=wanted.name, tags=tags(origin))

    async def _run(self, audio: bytes, content_type: str, origin: Origin, **conversion: Any) -> Marked:
        job = MarkJob(
            audio=audio,
            content_type=content_type,
            chain=self.key.chain,
            definition=definition(origin),
            **conversion,
        )
        ours, theirs = socket.socketpair()
        with theirs:
            answering = asyncio.create_task(self._sign(ours))
            try:
                marked = await self.pool.run(msgspec.msgpack.encode(job), [theirs.fileno()])
            except WorkerFailure as error:
                theirs.close()  # the worker's is closed: the task ends
                why = await finished(answering) or str(error)
                log.error("marking_failed", reason=why.strip().rpartition("\n")[2])
                raise MarkingUnavailable(internal=why) from error
            finally:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)
        made = msgspec.msgpack.decode(marked, type=Marked)
        if made.not_stamped:
            log.warning("time_stamp_missing", reason=made.not_stamped)
        return made

    async def _sign(self, connection: socket.socket) -> None:
        """Sign once. Raises SigningFailed; the worker reads the end of the connection then."""
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        try:
            size = int.from_bytes(await reader.readexactly(4), "big")
            if size <= MOST_SIGNED:
                claim = await reader.readexactly(size)
                signature = await self.key.sign(claim)
                token = await self._stamp(claim, signature)
                writer.write(signature + len(token).to_bytes(4, "big") + token)
                await writer.drain()
        except (EOFError, ConnectionError):  # the worker ended: its own failure says why
            return
        finally:
            writer.close()

    async def _stamp(self, claim: bytes, signature: bytes) -> bytes:
        """Empty without an authority, and while it is away: the mark holds without it."""
        if self._stamper is None:
            return b""
        try:
            return await self._stamper.stamp(claim, signature)
        except NotStamped as error:
            log.warning("time_stamp_missing", reason=str(error))
            return b""

    def report(self) -> None:
        """Once, at start: marks of development name no operator."""
        if self.key.is_development:
            log.warning("provenance_development_certificate", setting="C2PA_CERTIFICATE_FILE")

    async def aclose(self) -> None:
        await self.pool.aclose()


async def finished(answering: asyncio.Task[None]) -> str | None:
    """Why it did not sign; None where the key is not at fault."""
    with contextlib.suppress(TimeoutError):
        try:
            async with asyncio.timeout(1):
                await answering
        except SigningFailed as error:
            return str(error)
    return None
