"""A self-hosted zero-shot model, which keeps no voices: each synthesis sends the sample of its voice.

A voice is a profile in Storage that names its sample. The contract of the model is docs/self-hosted-model.md.
"""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
from msgspec import Struct, structs

from backend.providers.base import (
    Enrolled,
    EnrollRequest,
    ErrorKind,
    Limits,
    ProviderError,
    ProviderVoice,
    Sample,
    SpeechRequest,
    VoicePage,
)
from backend.providers.checks import primary, require_enrollable, require_text, spoken
from backend.providers.decoding import SpeechDecoder
from backend.providers.http import (
    MODEL_MISMATCH,
    SAMPLE_UNAVAILABLE,
    VOICE_NOT_FOUND,
    Call,
    ProviderResponse,
    multipart,
    read_sample,
    refusal,
    send,
)
from backend.providers.profiles import Profiles, ProfileStore
from backend.providers.reference.errors import NOT_A_MODEL, SAMPLE_GONE, known
from backend.settings.reference import ReferenceConfig
from backend.web.http_client import HttpClient

__all__ = ["Reference", "ReferenceConfig"]

TARGET_MODEL = "reference-1"  # the contract, not the model behind it: a sample suits every model
MAX_CHARACTERS = 2_000
CHECK_SECONDS = 20.0
# A call without audio. A model refuses it at once, and has checked the key and the address by then.
INCOMPLETE = b'--check\r\nContent-Disposition: form-data; name="text"\r\n\r\n\r\n--check--\r\n'
INCOMPLETE_HEADERS = {"content-type": "multipart/form-data; boundary=check"}
REFUSED_AS_INCOMPLETE = (400, 422)


class SampleStore(Protocol):
    """Where the samples are. Any error that it raises is an outage."""

    async def find(self, path: str) -> Sample | None: ...


class Profile(Struct, frozen=True, kw_only=True):
    """A voice, as it is stored."""

    label: str
    target_model: str
    created_at: datetime
    language: str
    transcript: str | None
    sample: str  # its path in the store of samples
    sha256: str  # of the sample


class _Problem(Struct):
    code: str | None = None
    detail: str | None = None
    request_id: str | None = None


class Reference:
    voice_kind = "reference"
    lists_only = False
    accounts: tuple[str, ...] = ("reference",)
    region: str | None = None  # the voices are in Storage, wherever the model runs
    target_model = TARGET_MODEL
    limits = Limits(
        min_seconds=3.0,
        max_seconds=60.0,
        max_bytes=10 * 1024 * 1024,
        min_sample_rate=8_000,
        max_characters=MAX_CHARACTERS,
    )

    def __init__(
        self,
        config: ReferenceConfig,
        client: HttpClient,
        samples: SampleStore,
        profiles: ProfileStore,
        decoder: SpeechDecoder | None = None,
    ) -> None:
        self._decoder = decoder or SpeechDecoder()
        self.name: str = config.name
        self._config = config
        self._client = client
        self._samples = samples
        self._profiles = Profiles(config.name, profiles, Profile)
        self._headers = {"authorization": f"Bearer {config.api_key}"} if config.api_key else {}

    async def slots(self) -> None:
        """As many as Storage holds."""

    async def enroll(self, request: EnrollRequest) -> Enrolled:
        """Nothing is created at the model: it is checked that it answers, then the profile is stored."""
        call = self._call(self._config.create_seconds, request.name, request.transcript)
        require_enrollable(call, request, self.limits)
        await self._require_model(call)
        digest = hashlib.sha256()
        async for chunk in read_sample(call, request.sample):
            digest.update(chunk)
        profile = Profile(
            label=request.label,
            target_model=TARGET_MODEL,
            created_at=datetime.now(UTC),
            language=primary(request.language),
            transcript=request.transcript,
            sample=request.sample.path,
            sha256=digest.hexdigest(),
        )
        voice_id = await self._profiles.add(request.label, profile)
        return Enrolled(provider_voice_id=voice_id, target_model=TARGET_MODEL)

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
            language=profile.language,
        )

    async def list_page(self, cursor: str | None) -> VoicePage:
        return await self._profiles.list_page(cursor, TARGET_MODEL)

    async def list(self) -> AsyncIterator[ProviderVoice]:
        async for voice_id in self._profiles.list():
            voice = await self.describe(voice_id)
            if voice is not None:  # else deleted since
                yield voice

    async def delete(self, provider_voice_id: str) -> None:
        """The profile. The sample is its owner's."""
        await self._profiles.delete(provider_voice_id)

    async def synthesize(self, request: SpeechRequest) -> bytes:
        call = self._call(self._config.speech_seconds, request.text)
        require_text(call, request.text, MAX_CHARACTERS)
        if request.target_model != TARGET_MODEL:
            raise call.error(MODEL_MISMATCH)
        profile = await self._profiles.get(request.provider_voice_id)
        if profile is None:
            raise call.error(VOICE_NOT_FOUND)
        sample = await self._sample(call, profile.sample)
        fields = {"text": request.text, "language": primary(request.language)}
        if profile.transcript:
            fields["transcript"] = profile.transcript
            call = structs.replace(call, sent=(*call.sent, profile.transcript))
        headers, body = multipart(
            fields,
            file=("audio", "sample.wav", sample.content_type, sample.size),
            content=unchanged(call, sample, profile.sha256),
        )
        answer = await self._post(call, content=body, headers=headers)
        if not answer.ok:
            raise _refused(call, answer)
        return await spoken(call, answer, self._decoder.mono_wav, answer.headers.get("x-request-id"))

    async def require_model(self) -> None:
        """Raises ProviderError where the model does not answer as one, or refuses the key."""
        await self._require_model(self._call(CHECK_SECONDS))

    async def _require_model(self, call: Call) -> None:
        answer = await self._post(call, content=INCOMPLETE, headers=INCOMPLETE_HEADERS)
        if answer.status in REFUSED_AS_INCOMPLETE:
            return
        error = _refused(call, answer)
        if answer.ok or error.kind is ErrorKind.REJECTED:
            raise call.error(
                NOT_A_MODEL,
                status=answer.status,
                request_id=error.request_id,
                provider_message=error.provider_message,
            )
        raise error

    async def _sample(self, call: Call, path: str) -> Sample:
        try:
            sample = await self._samples.find(path)
        except Exception as error:
            reason = type(error).__name__
        else:
            if sample is None:
                raise call.error(SAMPLE_GONE)
            return sample
        raise call.error(SAMPLE_UNAVAILABLE, provider_code=reason)

    async def _post(self, call: Call, *, headers: dict[str, str], **parts: Any) -> ProviderResponse:
        headers = {**self._headers, **headers}
        return await send(
            self._client, call, "POST", f"{self._config.base}/synthesize", headers=headers, **parts
        )

    def _call(self, seconds: float, *sent: str | None) -> Call:
        return Call(provider=self.name, seconds=seconds, sent=(self._config.api_key, *sent))


async def unchanged(call: Call, sample: Sample, sha256: str) -> AsyncIterator[bytes]:
    """The sample's bytes. Where they differ from those of the enrollment, the request is broken off."""
    digest = hashlib.sha256()
    async for chunk in read_sample(call, sample):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != sha256:
        raise call.error(SAMPLE_GONE)


def _refused(call: Call, answer: ProviderResponse) -> ProviderError:
    try:
        problem = msgspec.json.decode(answer.body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = _Problem()
    return refusal(
        call,
        answer,
        known(problem.code),
        provider_code=problem.code,
        request_id=problem.request_id or answer.headers.get("x-request-id"),
        message=problem.detail,
    )
