"""Voices that no vendor keeps: a small JSON each, in a store of the service's, named by its label."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct

from backend.providers.base import ProviderVoice, VoicePage
from backend.providers.http import UNAVAILABLE, UNKNOWN, Call

P = TypeVar("P", bound=Struct)
PAGE = 500  # keys of one listing


class ProfileStore(Protocol):
    """Where the voices are: objects by key. Any error that it raises is an outage."""

    async def put(self, key: str, data: bytes) -> None:
        """Raises when the key is taken."""
        ...

    async def get(self, key: str) -> bytes | None: ...

    async def list(self, prefix: str = "") -> list[str]: ...

    async def list_page(self, offset: int, limit: int) -> Sequence[str]:
        """Of all keys, in the order of their names."""
        ...

    async def delete(self, key: str) -> None:
        """Idempotent."""
        ...


class Profiles(Generic[P]):
    """The voices of one provider. Every method raises ProviderError and nothing else."""

    def __init__(self, provider: str, store: ProfileStore, shape: type[P]) -> None:
        self._call = Call(provider=provider, seconds=0)
        self._store = store
        self._shape = shape
        self._prefix = f"{provider}-voice-"
        self._voice_id = re.compile(rf"{self._prefix}[a-z0-9_]{{1,16}}")

    def voice_id(self, label: str) -> str:
        return self._prefix + label

    async def add(self, label: str, profile: P) -> str:
        """The id of the new voice."""
        voice_id = self.voice_id(label)
        try:
            await self._store.put(_key(voice_id), msgspec.json.encode(profile))
        except Exception as error:  # taken, or its answer was lost: either way the label tells
            raise self._call.error(UNKNOWN) from error
        return voice_id

    async def get(self, voice_id: str) -> P | None:
        if not self._voice_id.fullmatch(voice_id):
            return None
        try:
            data = await self._store.get(_key(voice_id))
            return None if data is None else msgspec.json.decode(data, type=self._shape)
        except Exception as error:
            raise self._call.error(UNAVAILABLE) from error

    async def list(self) -> AsyncIterator[str]:
        """The ids of the voices; one may be deleted meanwhile."""
        try:
            keys = await self._store.list(self._prefix)
        except Exception as error:
            raise self._call.error(UNAVAILABLE) from error
        for key in keys:
            yield key.removesuffix(".json")

    async def list_page(self, cursor: str | None, target_model: str) -> VoicePage:
        """By the keys alone; a cursor is how many were read before, those of other providers included."""
        start = int(cursor or 0)
        try:
            keys = await self._store.list_page(start, PAGE)
        except Exception as error:
            raise self._call.error(UNAVAILABLE) from error
        ids = [key.removesuffix(".json") for key in keys if key.startswith(self._prefix)]
        voices = [
            ProviderVoice(
                provider_voice_id=voice_id,
                label=voice_id.removeprefix(self._prefix),
                target_model=target_model,
            )
            for voice_id in ids
        ]
        return VoicePage(voices=voices, next=str(start + PAGE) if len(keys) == PAGE else None)

    async def delete(self, voice_id: str) -> None:
        if not self._voice_id.fullmatch(voice_id):
            return
        try:
            await self._store.delete(_key(voice_id))
        except Exception as error:
            raise self._call.error(UNAVAILABLE) from error


def _key(voice_id: str) -> str:
    return f"{voice_id}.json"
