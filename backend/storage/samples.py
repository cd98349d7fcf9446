"""Samples in Storage, as a provider takes them."""

from collections.abc import AsyncIterator

from backend.storage.buckets import SAMPLE_BUCKET
from backend.storage.client import Storage


class StoredSample:
    """A WAV in Storage: the prepared sample (24 kHz, mono, 16-bit), or the recording as it was made."""

    content_type = "audio/wav"

    def __init__(self, storage: Storage, path: str, size: int) -> None:
        self._storage = storage
        self.path = path
        self.size = size

    async def signed_url(self, seconds: int) -> str:
        return await self._storage.signed_url(SAMPLE_BUCKET, self.path, seconds)

    def stream(self) -> AsyncIterator[bytes]:
        return self._storage.stream(SAMPLE_BUCKET, self.path)


class StoredSamples:
    """The prepared samples, by their paths."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def find(self, path: str) -> StoredSample | None:
        info = await self._storage.info(SAMPLE_BUCKET, path)
        return None if info is None else StoredSample(self._storage, path, info.size)
