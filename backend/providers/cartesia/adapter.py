"""Cartesia instant clones. The bytes are streamed; a voice is found by its name, our label."""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

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
    SpeechRequest,
    VoicePage,
    create_metadata,
    every_page,
)
from backend.providers.cartesia.errors import BY_STATUS, OF_CREATE, OF_SPEECH, known
from backend.providers.cartesia.languages import LANGUAGES
from backend.providers.checks import primary, require_enrollable, require_text, spoken
from backend.providers.decoding import SpeechDecoder
from backend.providers.http import (
    UNAVAILABLE,
    VOICE_NOT_FOUND,
    Call,
    Failure,
    ProviderResponse,
    multipart,
    parse,
    read_sample,
    refusal,
    send,
)
from backend.settings.cartesia import API_VERSION, CartesiaConfig
from backend.web.http_client import HttpClient

__all__ = ["Cartesia", "CartesiaConfig"]

MAX_CHARACTERS = 5_000
MAX_PAGES = 1000
WAV_24_KHZ = {"container": "wav", "encoding": "pcm_s16le", "sample_rate": 24_000}
LANGUAGE_UNSUPPORTED = Failure(
    ErrorKind.REJECTED, "language_unsupported", f"Cartesia clones voices in {', '.join(sorted(LANGUAGES))}."
)
_VOICE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class _Voice(Struct):
    id: str
    name: str | None = None
    language: str | None = None
    created_at: datetime | None = None
    access: str | None = None


class _Page(Struct):
    data: list[_Voice]


class _CartesiaError(Struct):
    error_code: str | None = None
    message: str | None = None
    request_id: str | None = None


class Cartesia:
    name = "cartesia"
    voice_kind = "instant"
    lists_only = False
    region: str | None = None

    def __init__(
        self, config: CartesiaConfig, client: HttpClient, decoder: SpeechDecoder | None = None
    ) -> None:
        self._config = config
        self.accounts = config.accounts
        self._decoder = decoder or SpeechDecoder()
        self._client = client
        self._headers = {"authorization": f"Bearer {config.api_key}", "cartesia-version": API_VERSION}
        self.target_model = config.model_id

    @property
    def limits(self) -> Limits:
        """Cartesia documents no hard limits and says that 5 s are best; more than a minute gains nothing."""
        return Limits(
            min_seconds=3.0,
            max_seconds=60.0,
            max_bytes=10 * 1024 * 1024,
            min_sample_rate=8_000,
            languages=LANGUAGES,
            max_characters=MAX_CHARACTERS,
            listing_lag_seconds=self._config.listing_lag_seconds,
        )

    async def slots(self) -> None:
        """There is no call for it; the plan decides."""

    async def enroll(self, request: EnrollRequest) -> Enrolled:
        call = self._call(self._config.create_seconds, request.name, request.transcript, commits=True)
        require_enrollable(call, request, self.limits)
        language = primary(request.language)
        if language not in LANGUAGES:
            raise call.error(LANGUAGE_UNSUPPORTED)
        headers, body = multipart(
            {"name": request.label, "description": request.name, "language": language},
            file=("clip", "sample.wav", request.sample.content_type, request.sample.size),
            content=read_sample(call, request.sample),
        )
        answer = await self._ask(
            call, "POST", "/voices/clone", failures=OF_CREATE, content=body, headers=headers
        )
        created = parse(call, answer, _Voice)
        return Enrolled(
            provider_voice_id=created.id,
            target_model=self._config.model_id,
            request_id=_request_id(answer),
            metadata=create_metadata(access=created.access),
        )

    async def find(self, label: str) -> ProviderVoice | None:
        """The search is loose (names, descriptions, ids), so what it returns is compared exactly."""
        async for voice in self._voices(q=label):
            if voice.name == label:
                return _described(voice)
        return None

    async def describe(self, provider_voice_id: str) -> ProviderVoice | None:
        if not _VOICE_ID.fullmatch(provider_voice_id):
            return None
        call = self._call(self._config.call_seconds)
        try:
            answer = await self._ask(call, "GET", f"/voices/{provider_voice_id}")
        except ProviderError as error:
            if _is_missing(error):
                return None
            raise
        return _described(parse(call, answer, _Voice))

    async def list_page(self, cursor: str | None) -> VoicePage:
        page = await self._page(cursor)
        voices = [_described(voice) for voice in page]
        return VoicePage(voices=voices, next=page[-1].id if page else None)

    def list(self) -> AsyncIterator[ProviderVoice]:
        return every_page(self.list_page)

    async def delete(self, provider_voice_id: str) -> None:
        call = self._call(self._config.call_seconds)
        if not _VOICE_ID.fullmatch(provider_voice_id):
            return
        try:
            await self._ask(call, "DELETE", f"/voices/{provider_voice_id}")
        except ProviderError as error:
            if not _is_missing(error):
                raise

    async def synthesize(self, request: SpeechRequest) -> bytes:
        call = self._call(self._config.speech_seconds, request.text)
        require_text(call, request.text, MAX_CHARACTERS)
        if not _VOICE_ID.fullmatch(request.provider_voice_id):
            raise call.error(VOICE_NOT_FOUND)
        body: dict[str, object] = {
            "model_id": request.target_model,
            "transcript": request.text,
            "voice": {"mode": "id", "id": request.provider_voice_id},
            "output_format": WAV_24_KHZ,
        }
        if (language := primary(request.language)) in LANGUAGES:
            body["language"] = language
        answer = await self._ask(call, "POST", "/tts/bytes", failures=OF_SPEECH, json=body)
        return await spoken(call, answer, self._decoder.mono_wav, _request_id(answer))

    async def _voices(self, **query: str) -> AsyncIterator[_Voice]:
        last = None
        for _ in range(MAX_PAGES):
            page = await self._page(last, **query)
            for voice in page:
                yield voice
            if not page:
                return
            last = page[-1].id
        raise self._call(0).error(UNAVAILABLE, provider_code="PagingStuck")

    async def _page(self, last: str | None, **query: str) -> Sequence[_Voice]:
        """Of the account's own voices. A page says nothing of what follows: an empty one is the last."""
        call = self._call(self._config.call_seconds)
        params = {"limit": str(self._config.page_size), "is_owner": "true", **query}
        if last:
            params["starting_after"] = last
        page = parse(call, await self._ask(call, "GET", "/voices", params=params), _Page).data
        if page and page[-1].id == last:
            raise call.error(UNAVAILABLE, provider_code="PagingStuck")
        return page

    async def _ask(
        self, call: Call, method: str, path: str, *, failures: dict[int, Failure] = BY_STATUS, **parts: Any
    ) -> ProviderResponse:
        headers = {**self._headers, **parts.pop("headers", {})}
        answer = await send(self._client, call, method, self._config.base + path, headers=headers, **parts)
        if not answer.ok:
            raise _refused(call, answer, failures)
        return answer

    def _call(self, seconds: float, *sent: str | None, commits: bool = False) -> Call:
        sent = (self._config.api_key, *sent)
        return Call(provider=self.name, seconds=seconds, commits=commits, sent=sent)


def _is_missing(error: ProviderError) -> bool:
    return error.code == VOICE_NOT_FOUND.code or error.status == 404


def _described(voice: _Voice) -> ProviderVoice:
    return ProviderVoice(
        provider_voice_id=voice.id,
        label=voice.name if LABEL.fullmatch(voice.name or "") else None,
        target_model=None,
        created_at=voice.created_at,
        language=voice.language if voice.language in LANGUAGES else None,
    )


def _request_id(answer: ProviderResponse) -> str | None:
    return answer.headers.get("x-request-id")


def _refused(call: Call, answer: ProviderResponse, failures: dict[int, Failure]) -> ProviderError:
    try:
        said = msgspec.json.decode(answer.body, type=_CartesiaError)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = _CartesiaError()
    return refusal(
        call,
        answer,
        known(said.error_code, answer.status, failures),
        provider_code=said.error_code,
        request_id=said.request_id or _request_id(answer),
        message=said.message,
    )
