"""The sample of an attempt in Storage, as a provider reads it."""

from collections.abc import AsyncIterator

from backend.storage.buckets import SAMPLE_BUCKET
from backend.storage.client import Storage


class StoredSample:
    """The prepared sample in Storage, as a provider takes it: WAV, 24 kHz, mono, 16-bit."""

    content_type = "audio/wav"

    def __init__(self, storage: Storage, path: str, size: int) -> None:
        self._storage = storage
        self._path = path
        self.size = size

    async def signed_url(self, seconds: int) -> str:
        return await self._storage.signed_url(SAMPLE_BUCKET, self._path, seconds)

    def stream(self) -> AsyncIterator[bytes]:
        return self._storage.stream(SAMPLE_BUCKET, self._path)
