"""The one function that marks audio: a signed C2PA manifest inside of the file.

C2PA's library reads the provider's bytes in a sandboxed worker, which has no key and no network. What is to
be signed comes back over a socket, at most once for each file.
"""

import asyncio
import contextlib
import socket

import msgspec

from backend.errors import MarkingUnavailable
from backend.provenance.frames import MOST_SIGNED, MarkJob
from backend.provenance.manifest import MARKABLE, Origin, definition
from backend.provenance.signing import SigningFailed, SigningKey
from backend.sandbox.pool import WorkerFailure, WorkerPool
from backend.web.logs import log

WORKERS = 2
MEMORY = 1 << 30  # bytes: the longest speech, a few times


class AudioMarker:
    """Starts a worker when the first audio is marked. Close it with `aclose`."""

    def __init__(self, key: SigningKey) -> None:
        self.key = key
        self.pool = WorkerPool("backend.provenance.mark_job", size=WORKERS, memory_bytes=MEMORY)

    async def mark(self, audio: bytes, content_type: str, origin: Origin) -> bytes:
        """The same audio with its mark. Raises MarkingUnavailable; then nothing may leave."""
        if content_type not in MARKABLE:
            raise ValueError(f"no container for a mark: {content_type}")
        job = MarkJob(
            audio=audio, content_type=content_type, chain=self.key.chain, definition=definition(origin)
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
        return marked

    async def _sign(self, connection: socket.socket) -> None:
        """Sign once. Raises SigningFailed; the worker reads the end of the connection then."""
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        try:
            size = int.from_bytes(await reader.readexactly(4), "big")
            if size <= MOST_SIGNED:
                writer.write(await self.key.sign(await reader.readexactly(size)))
                await writer.drain()
        except (EOFError, ConnectionError):  # the worker ended: its own failure says why
            return
        finally:
            writer.close()

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
