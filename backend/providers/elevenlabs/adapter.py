"""ElevenLabs instant voice clones. The bytes are streamed; a voice is found by its name, our label."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from backend.providers.base import (
    Enrolled,
    EnrollRequest,
    Limits,
    ProviderError,
    ProviderVoice,
    Slots,
    SpeechRequest,
    VoicePage,
    create_metadata,
    every_page,
)
from backend.providers.checks import primary, require_enrollable, require_text, spoken
from backend.providers.decoding import SpeechDecoder
from backend.providers.elevenlabs.errors import known
from backend.providers.http import (
    UNAVAILABLE,
    VOICE_NOT_FOUND,
    Call,
    ProviderResponse,
    multipart,
    parse,
    read_sample,
    refusal,
    send,
)
from backend.providers.wav import pcm_wav
from backend.settings.elevenlabs import ElevenLabsConfig
from backend.web.http_client import HttpClient

__all__ = ["ElevenLabs", "ElevenLabsConfig"]

MAX_CHARACTERS = {
    "eleven_flash_v2_5": 40_000,
    "eleven_turbo_v2_5": 40_000,
    "eleven_multilingual_v2": 10_000,
    "eleven_v3": 5_000,
}
TAKES_LANGUAGE_CODE = {"eleven_flash_v2_5", "eleven_turbo_v2_5", "eleven_v3"}  # the others refuse it
MAX_PAGES = 1000
_VOICE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OUTPUT_FORMAT = re.compile(r"(pcm|wav)_(\d{4,6})")


class _Created(Struct):
    voice_id: str
    requires_verification: bool = False


class _Verification(Struct):
    requires_verification: bool = False
    is_verified: bool = False
    verification_failures: list[Any] | None = None


class _Voice(Struct):
    voice_id: str
    name: str | None = None
    labels: dict[str, Any] | None = None
    created_at_unix: int | None = None
    voice_verification: _Verification | None = None


class _Page(Struct):
    voices: list[_Voice]
    has_more: bool = False
    next_page_token: str | None = None


class _Subscription(Struct):
    voice_slots_used: int | None = None
    voice_limit: int | None = None


class ElevenLabs:
    name = "elevenlabs"
    voice_kind = "ivc"
    lists_only = False

    def __init__(
        self, config: ElevenLabsConfig, client: HttpClient, decoder: SpeechDecoder | None = None
    ) -> None:
        self._config = config
        self._client = client
        self._decoder = decoder or SpeechDecoder()
        self._headers = {"xi-api-key": config.api_key}
        self.region: str | None = config.region
        self.accounts = config.accounts
        self.target_model = config.model_id

    @property
    def limits(self) -> Limits:
        """Seconds and bytes are what integrators report to work: ElevenLabs documents no hard limit."""
        return Limits(
            min_seconds=5.0,
            max_seconds=180.0,
            max_bytes=10 * 1024 * 1024,
            min_sample_rate=8_000,
            max_characters=MAX_CHARACTERS.get(self._config.model_id, 5_000),
            max_characters_by_model=MAX_CHARACTERS,
            listing_lag_seconds=self._config.listing_lag_seconds,
            removes_noise=True,
        )

    async def enroll(self, request: EnrollRequest) -> Enrolled:
        call = self._call(self._config.create_seconds, request.name, request.transcript, commits=True)
        require_enrollable(call, request, self.limits)
        headers, body = multipart(
            {
                "name": request.label,
                "description": request.name,
                "labels": json.dumps({"likeness": request.label}),
                "remove_background_noise": "true" if request.remove_background_noise else "false",
            },
            file=("files", "sample.wav", request.sample.content_type, request.sample.size),
            content=read_sample(call, request.sample),
        )
        answer = await self._ask(call, "POST", "/v1/voices/add", content=body, headers=headers)
        created = parse(call, answer, _Created)
        return Enrolled(
            provider_voice_id=created.voice_id,
            target_model=self._config.model_id,
            request_id=answer.headers.get("request-id"),
            requires_verification=created.requires_verification,
            metadata=create_metadata(requires_verification=created.requires_verification),
        )

    async def find(self, label: str) -> ProviderVoice | None:
        """The search is loose (names, descriptions, labels), so what it returns is compared exactly."""
        async for voice in self._voices(search=label):
            if voice.name == label or (voice.labels or {}).get("likeness") == label:
                return _described(voice)
        return None

    async def describe(self, provider_voice_id: str) -> ProviderVoice | None:
        if not _VOICE_ID.fullmatch(provider_voice_id):
            return None
        call = self._call(self._config.call_seconds)
        try:
            answer = await self._ask(call, "GET", f"/v1/voices/{provider_voice_id}")
        except ProviderError as error:
            if error.code == VOICE_NOT_FOUND.code or error.status == 404:
                return None
            raise
        return _described(parse(call, answer, _Voice))

    async def list_page(self, cursor: str | None) -> VoicePage:
        page = await self._page(cursor, category="cloned")
        voices = [_described(voice) for voice in page.voices]
        return VoicePage(voices=voices, next=page.next_page_token if page.has_more else None)

    def list(self) -> AsyncIterator[ProviderVoice]:
        return every_page(self.list_page)

    async def delete(self, provider_voice_id: str) -> None:
        call = self._call(self._config.call_seconds)
        if not _VOICE_ID.fullmatch(provider_voice_id):
            return
        try:
            await self._ask(call, "DELETE", f"/v1/voices/{provider_voice_id}")
        except ProviderError as error:
            if error.code != VOICE_NOT_FOUND.code and error.status != 404:
                raise

    async def synthesize(self, request: SpeechRequest) -> bytes:
        call = self._call(self._config.speech_seconds, request.text)
        require_text(call, request.text, self.limits.characters_of(request.target_model))
        if not _VOICE_ID.fullmatch(request.provider_voice_id):
            raise call.error(VOICE_NOT_FOUND)
        body = {"text": request.text, "model_id": request.target_model}
        if request.target_model in TAKES_LANGUAGE_CODE:
            body["language_code"] = primary(request.language)
        answer = await self._ask(
            call,
            "POST",
            f"/v1/text-to-speech/{request.provider_voice_id}",
            params={"output_format": self._config.output_format},
            json=body,
        )
        return await spoken(call, answer, self._wav, answer.headers.get("request-id"))

    async def slots(self) -> Slots | None:
        """Of the plan, where the subscription tells."""
        call = self._call(self._config.call_seconds)
        plan = parse(call, await self._ask(call, "GET", "/v1/user/subscription"), _Subscription)
        if plan.voice_slots_used is None or plan.voice_limit is None:
            return None
        return Slots(used=plan.voice_slots_used, allowed=plan.voice_limit)

    async def _wav(self, audio: bytes) -> bytes:
        asked = _OUTPUT_FORMAT.fullmatch(self._config.output_format)
        if asked is None or len(audio) < 2:
            raise ValueError("no PCM")
        if asked[1] == "wav":
            return await self._decoder.mono_wav(audio)
        return await asyncio.to_thread(pcm_wav, audio, int(asked[2]))

    async def _voices(self, **query: str) -> AsyncIterator[_Voice]:
        token = None
        for _ in range(MAX_PAGES):
            page = await self._page(token, **query)
            for voice in page.voices:
                yield voice
            if not page.has_more:
                return
            token = page.next_page_token
        raise self._call(0).error(UNAVAILABLE, provider_code="PagingStuck")

    async def _page(self, token: str | None, **query: str) -> _Page:
        """Where more follows, it says where."""
        call = self._call(self._config.call_seconds)
        params = {"page_size": str(self._config.page_size), "include_total_count": "false", **query}
        if token:
            params["next_page_token"] = token
        page = parse(call, await self._ask(call, "GET", "/v2/voices", params=params), _Page)
        if page.has_more and (not page.next_page_token or page.next_page_token == token):
            raise call.error(UNAVAILABLE, provider_code="PagingStuck")
        return page

    async def _ask(self, call: Call, method: str, path: str, **parts: Any) -> ProviderResponse:
        headers = {**self._headers, **parts.pop("headers", {})}
        answer = await send(self._client, call, method, self._config.base + path, headers=headers, **parts)
        if not answer.ok:
            raise _refused(call, answer)
        return answer

    def _call(self, seconds: float, *sent: str | None, commits: bool = False) -> Call:
        sent = (self._config.api_key, *sent)
        return Call(provider=self.name, seconds=seconds, commits=commits, sent=sent)


def _described(voice: _Voice) -> ProviderVoice:
    check = voice.voice_verification or _Verification()
    is_verified = check.is_verified or not check.requires_verification
    label = (voice.labels or {}).get("likeness")
    made = voice.created_at_unix
    return ProviderVoice(
        provider_voice_id=voice.voice_id,
        label=label if isinstance(label, str) else None,
        target_model=None,
        created_at=datetime.fromtimestamp(made, UTC) if made is not None else None,
        requires_verification=check.requires_verification,
        is_verified=is_verified,
        verification_refused=bool(check.verification_failures) and not is_verified,
    )


def _refused(call: Call, answer: ProviderResponse) -> ProviderError:
    """`detail` is an object, in older answers with a status alone; a string; or FastAPI's list of faults."""
    try:
        detail = msgspec.json.decode(answer.body)["detail"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        detail = None
    said = detail if isinstance(detail, dict) else {}
    codes = [said.get("code"), said.get("status")]
    if isinstance(detail, list):
        codes = ["unprocessable"]
    return refusal(
        call,
        answer,
        next((failure for code in codes if (failure := known(code))), None),
        provider_code=next((code for code in codes if code), None),
        request_id=said.get("request_id") or answer.headers.get("request-id"),
        message=said.get("message") or _faults(detail),
    )


def _faults(detail: object) -> str | None:
    """What a string or a list of faults says: the place of each, and its words."""
    if isinstance(detail, list):
        faults = [fault for fault in detail if isinstance(fault, dict)]
        return "; ".join(f"{fault.get('loc')}: {fault.get('msg')}" for fault in faults)
    return detail if isinstance(detail, str) else None
