"""The embedded provider: no key, no network, and no neural model.

What it makes is an acoustic match, never a likeness: espeak-ng at the sample's pitch, formants, spectrum and
pace. A voice is a small JSON of those measures in a store of the service's; nothing of the recording is kept.
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from backend.providers.base import (
    LABEL,
    Enrolled,
    EnrollRequest,
    ErrorKind,
    Limits,
    ProviderError,
    ProviderVoice,
    Sample,
    SpeechRequest,
    VoicePage,
    create_metadata,
)
from backend.providers.checks import primary
from backend.providers.http import (
    INFERENCE_FAILED,
    LABEL_INVALID,
    MODEL_MISMATCH,
    SAMPLE_TOO_LARGE,
    TEXT_EMPTY,
    TEXT_TOO_LONG,
    UNAVAILABLE,
    VOICE_NOT_FOUND,
    Failure,
    unreadable,
)
from backend.providers.local.jobs import VOICES, Measure, Measures, Speak
from backend.providers.profiles import Profiles, ProfileStore
from backend.sandbox.errors import InputRefused
from backend.sandbox.pool import Reason, WorkerFailure, WorkerPool

TARGET_MODEL = "local-acoustic-match-1"
MAX_CHARACTERS = 2_000
MAX_BYTES = 10 * 1024 * 1024
_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f]+")
_NO_LANGUAGE = Failure(
    ErrorKind.REJECTED, "language_unsupported", "The embedded provider does not speak this language."
)


class Profile(Struct, frozen=True, kw_only=True):
    """A voice, as it is stored."""

    label: str
    target_model: str
    created_at: datetime
    measures: Measures


class LocalProvider:
    """Works in child processes, started when first needed. Close it with `aclose`."""

    name = "local"
    voice_kind = "match"
    lists_only = False
    region: str | None = None
    accounts: tuple[str, ...] = ("local",)
    target_model = TARGET_MODEL
    limits = Limits(
        min_seconds=3.0,
        max_seconds=60.0,
        max_bytes=MAX_BYTES,
        min_sample_rate=8_000,
        min_voiced_seconds=2.0,
        languages=frozenset(VOICES),
        max_characters=MAX_CHARACTERS,
    )

    def __init__(self, profiles: ProfileStore, *, workers: int = 2) -> None:
        self._profiles = Profiles(self.name, profiles, Profile)
        self.pool = WorkerPool(
            "backend.providers.local.work", size=workers, wall_seconds=60.0, cpu_seconds=30
        )

    async def slots(self) -> None:
        """As many as Storage holds."""

    async def enroll(self, request: EnrollRequest) -> Enrolled:
        if not LABEL.fullmatch(request.label):
            raise _error(LABEL_INVALID)
        _language(request.language)
        answer = await self._work(Measure(await _read(request.sample)), UNAVAILABLE)
        profile = Profile(
            label=request.label,
            target_model=TARGET_MODEL,
            created_at=datetime.now(UTC),
            measures=msgspec.msgpack.decode(answer, type=Measures),
        )
        return Enrolled(
            provider_voice_id=await self._profiles.add(request.label, profile),
            target_model=TARGET_MODEL,
            metadata=create_metadata(measures=msgspec.to_builtins(profile.measures)),
        )

    async def find(self, label: str) -> ProviderVoice | None:
        return await self.describe(self._profiles.voice_id(label))

    async def describe(self, provider_voice_id: str) -> ProviderVoice | None:
        profile = await self._profiles.get(provider_voice_id)
        if profile is None:
            return None
        return ProviderVoice(
            provider_voice_id=provider_voice_id,
            label=profile.label,
            target_model=profile.target_model,
            created_at=profile.created_at,
        )

    async def list_page(self, cursor: str | None) -> VoicePage:
        return await self._profiles.list_page(cursor, TARGET_MODEL)

    async def list(self) -> AsyncIterator[ProviderVoice]:
        async for voice_id in self._profiles.list():
            voice = await self.describe(voice_id)
            if voice is not None:  # else deleted since
                yield voice

    async def delete(self, provider_voice_id: str) -> None:
        await self._profiles.delete(provider_voice_id)

    async def synthesize(self, request: SpeechRequest) -> bytes:
        text = _UNSPEAKABLE.sub(" ", request.text).strip()
        if not text:
            raise _error(TEXT_EMPTY)
        if len(request.text) > MAX_CHARACTERS:
            raise _error(TEXT_TOO_LONG, limit=MAX_CHARACTERS)
        if request.target_model != TARGET_MODEL:
            raise _error(MODEL_MISMATCH)
        language = _language(request.language)
        profile = await self._profiles.get(request.provider_voice_id)
        if profile is None:
            raise _error(VOICE_NOT_FOUND)
        return await self._work(Speak(text, language, profile.measures), INFERENCE_FAILED)

    async def aclose(self) -> None:
        await self.pool.aclose()

    async def _work(self, job: Measure | Speak, failure: Failure) -> bytes:
        try:
            return await self.pool.run(msgspec.msgpack.encode(job))
        except InputRefused as error:
            raise _error(Failure(ErrorKind.REJECTED, error.code, error.message)) from error
        except WorkerFailure as error:
            raise _error(UNAVAILABLE if error.reason is Reason.CLOSED else failure) from error


def _error(failure: Failure, limit: int | None = None) -> ProviderError:
    return ProviderError(
        failure.kind, failure.code, failure.message, provider=LocalProvider.name, limit=limit
    )


def _language(language: str) -> str:
    """`en` of `en-GB`."""
    plain = primary(language)
    if plain not in VOICES:
        raise _error(_NO_LANGUAGE)
    return plain


async def _read(sample: Sample) -> bytes:
    data = bytearray()
    try:
        async for chunk in sample.stream():
            data += chunk
            if len(data) > MAX_BYTES:
                break
    except Exception as error:
        raise _error(unreadable(error)) from error
    if len(data) > MAX_BYTES:
        raise _error(SAMPLE_TOO_LARGE, limit=MAX_BYTES)
    return bytes(data)
