"""Providers' audio: decoded in the sandbox, because they are no more trusted than a sample."""

import asyncio

from backend.providers.wav import plain_wav
from backend.sandbox.errors import InputRefused
from backend.sandbox.pool import WorkerFailure, WorkerPool


class SpeechDecoder:
    """Starts a worker only for audio that is not 16-bit mono already. Close it with `aclose`."""

    def __init__(self) -> None:
        self.pool = WorkerPool("backend.providers.wav_job", size=1)

    async def mono_wav(self, data: bytes) -> bytes:
        """16-bit mono with a plain 44-byte header. Raises ValueError if there is no usable audio."""
        plain = await asyncio.to_thread(plain_wav, data)
        if plain is not None:
            return plain
        try:
            return await self.pool.run(data)
        except (InputRefused, WorkerFailure) as error:
            raise ValueError("a WAV file that does not decode") from error

    async def aclose(self) -> None:
        await self.pool.aclose()
