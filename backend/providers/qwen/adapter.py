"""Qwen's cloned voices: DashScope voice enrollment, and speech with the model each voice was made for."""

import base64
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec

from backend.providers.base import (
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
from backend.providers.checks import primary, require_enrollable, require_text, spoken
from backend.providers.decoding import SpeechDecoder
from backend.providers.http import (
    INFERENCE_FAILED,
    UNAVAILABLE,
    VOICE_NOT_FOUND,
    Call,
    Failure,
    ProviderResponse,
    parse,
    read_sample,
    refusal,
    send,
    signed_url,
)
from backend.providers.qwen import errors
from backend.providers.qwen.languages import LANGUAGES
from backend.providers.qwen.responses import Created, Deleted, Envelope, ListedVoice, Page, QwenError, Speech
from backend.settings.qwen import QwenConfig
from backend.web.http_client import HttpClient

__all__ = ["Qwen", "QwenConfig", "count_characters"]

T = TypeVar("T")
CUSTOMIZATION = "/api/v1/services/audio/tts/customization"
GENERATION = "/api/v1/services/aigc/multimodal-generation/generation"
MAX_CHARACTERS = 600
MAX_ENCODED_BYTES = 10 * 1024 * 1024
MAX_PAGES = 1000
LANGUAGE_UNSUPPORTED = Failure(
    ErrorKind.REJECTED, "language_unsupported", f"Qwen clones voices in {', '.join(LANGUAGES.values())}."
)
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
_VOICE = re.compile(r"qwen-tts-vc-(\w{1,16})-voice-.+", re.ASCII)
_PRINTABLE = re.compile(r"[!-~]+")
_RESULT_HOST = re.compile(r"dashscope-[a-z0-9-]+\.oss-[a-z0-9-]+\.aliyuncs\.com")


class Qwen:
    name = "qwen"
    voice_kind = "vc"
    lists_only = True

    def __init__(self, config: QwenConfig, client: HttpClient, decoder: SpeechDecoder | None = None) -> None:
        self._config = config
        self._client = client
        self._decoder = decoder or SpeechDecoder()
        self._headers = {"authorization": f"Bearer {config.api_key}"}
        if config.workspace_id:
            self._headers["x-dashscope-workspace"] = config.workspace_id
        self.region: str | None = config.region
        self.accounts = config.accounts
        self.target_model = config.target_model

    @property
    def limits(self) -> Limits:
        by_url = self._config.send_sample_as == "signed_url"
        return Limits(
            min_seconds=3.0,
            max_seconds=60.0,
            max_bytes=MAX_ENCODED_BYTES if by_url else MAX_ENCODED_BYTES // 4 * 3 - 64,
            min_sample_rate=24_000,
            min_voiced_seconds=3.0,
            languages=frozenset(LANGUAGES),
            max_characters=MAX_CHARACTERS,
            count_characters=count_characters,
            slots=1000,
            unused_days=365,
            listing_lag_seconds=self._config.listing_lag_seconds,
        )

    async def slots(self) -> None:
        """There is no call for it; the limit is the same for every account."""

    async def enroll(self, request: EnrollRequest) -> Enrolled:
        """One create; a second only where Qwen refused the first because the signed URL had gone stale."""
        try:
            return await self._create(request)
        except ProviderError as error:
            if error.code != errors.SAMPLE_UNREACHABLE.code or self._config.send_sample_as == "data_url":
                raise
        return await self._create(request)

    async def find(self, label: str) -> ProviderVoice | None:
        mark = f"-{label}-"
        return await self._search(lambda voice: mark in voice.provider_voice_id)

    async def describe(self, provider_voice_id: str) -> ProviderVoice | None:
        """There is no query action: a voice is described by finding it in the list."""
        return await self._search(lambda voice: voice.provider_voice_id == provider_voice_id)

    async def list_page(self, cursor: str | None) -> VoicePage:
        """A cursor is the page, how many voices came before it, and the last of them."""
        index, before, last = cursor.split(" ", 2) if cursor else ("0", "0", "")
        page = await self._page(int(index))
        names = [listed.voice for listed in page.voice_list]
        count = int(before) + len(names)
        is_last = not names or names[-1] == last or count >= (page.total_count or count + 1)
        voices = [_voice(listed) for listed in page.voice_list]
        return VoicePage(voices=voices, next=None if is_last else f"{int(index) + 1} {count} {names[-1]}")

    def list(self) -> AsyncIterator[ProviderVoice]:
        return every_page(self.list_page)

    async def delete(self, provider_voice_id: str) -> None:
        call = self._call(self._config.call_seconds)
        try:
            await self._customize(call, {"action": "delete", "voice": provider_voice_id}, Deleted)
        except ProviderError as error:
            if error.code != VOICE_NOT_FOUND.code:
                raise

    async def synthesize(self, request: SpeechRequest) -> bytes:
        call = self._call(self._config.speech_seconds, request.text)
        require_text(call, request.text, MAX_CHARACTERS, count_characters)
        body = {
            "model": request.target_model,
            "input": {
                "text": request.text,
                "voice": request.provider_voice_id,
                "language_type": LANGUAGES.get(primary(request.language), "Auto"),
            },
        }
        answer = await self._post(call, GENERATION, body, Speech)
        speech, request_id = answer.output, answer.request_id
        return await self._download(call, speech.audio.url or "", request_id)

    async def _create(self, request: EnrollRequest) -> Enrolled:
        call = self._call(self._config.create_seconds, request.name, request.transcript, commits=True)
        require_enrollable(call, request, self.limits)
        if primary(request.language) not in LANGUAGES:
            raise call.error(LANGUAGE_UNSUPPORTED)
        body = {
            "action": "create",
            "target_model": self._config.target_model,
            "preferred_name": request.label,
            "audio": {"data": await self._audio(call, request)},
            "language": primary(request.language),
        }
        if request.transcript:
            body["text"] = request.transcript
        answer = await self._customize(call, body, Created)
        created = answer.output
        return Enrolled(
            provider_voice_id=created.voice,
            target_model=created.target_model or self._config.target_model,
            request_id=answer.request_id,
            metadata=create_metadata(
                usage=answer.usage,
                fallback_mode=created.fallback_mode,
                fallback_reason=created.fallback_reason,
            ),
        )

    async def _audio(self, call: Call, request: EnrollRequest) -> str:
        if self._config.send_sample_as == "signed_url":
            return await signed_url(call, request.sample, self._config.signed_url_seconds)
        data = b"".join([chunk async for chunk in read_sample(call, request.sample)])
        return f"data:{request.sample.content_type};base64,{base64.b64encode(data).decode()}"

    async def _search(self, wanted: Callable[[ProviderVoice], bool]) -> ProviderVoice | None:
        """The first voice that passes. A delete meanwhile moves others to pages already read: again, then."""
        for _ in range(3):
            shrank, before = False, 0
            async for page in self._pages():
                for listed in page.voice_list:
                    if wanted(voice := _voice(listed)):
                        return voice
                shrank |= (page.total_count or before) < before
                before = page.total_count or before
            if not shrank:
                return None
        raise self._call(0).error(UNAVAILABLE)

    async def _pages(self) -> AsyncIterator[Page]:
        """Pages until nothing new comes: older answers hold no total, and pages may be smaller than asked."""
        seen: set[str] = set()
        for index in range(MAX_PAGES):
            page = await self._page(index)
            fresh = {listed.voice for listed in page.voice_list} - seen
            if not fresh:
                return
            seen |= fresh
            yield page
            if page.total_count is not None and len(seen) >= page.total_count:
                return

    async def _page(self, index: int) -> Page:
        body = {"action": "list", "page_size": self._config.page_size, "page_index": index}
        return (await self._customize(self._call(self._config.call_seconds), body, Page)).output

    async def _customize(self, call: Call, body: dict[str, Any], shape: type[T]) -> Envelope[T]:
        return await self._post(call, CUSTOMIZATION, {"model": "qwen-voice-enrollment", "input": body}, shape)

    async def _post(self, call: Call, path: str, body: dict[str, Any], shape: type[T]) -> Envelope[T]:
        url = self._config.base + path
        answer = await send(self._client, call, "POST", url, json=body, headers=self._headers)
        if not answer.ok:
            raise _refused(call, answer)
        return parse(call, answer, Envelope[shape])

    async def _download(self, call: Call, url: str, request_id: str | None) -> bytes:
        """The spoken file, without our key and only from a host that is Qwen's."""
        where = self._result_url(url)
        if where is None:
            raise call.error(INFERENCE_FAILED, provider_code="ResultHost", request_id=request_id)
        answer = await send(self._client, call, "GET", where)
        if not answer.ok:
            raise call.error(INFERENCE_FAILED, status=answer.status, request_id=request_id)
        return await spoken(call, answer, self._decoder.mono_wav, request_id)

    def _result_url(self, url: str) -> str | None:
        """The address as it came, over TLS; None where it is not one of Qwen's hosts."""
        if not _PRINTABLE.fullmatch(url):
            return None
        try:
            where = urlsplit(url)
            port = where.port
        except ValueError:
            return None
        base = urlsplit(self._config.base)
        if self._config.base_url and (where.scheme, where.netloc) == (base.scheme, base.netloc):
            return url
        sound = where.scheme in ("http", "https") and port in (None, 80, 443) and "@" not in where.netloc
        if sound and _RESULT_HOST.fullmatch(where.hostname or ""):
            return urlunsplit(("https", where.hostname, where.path, where.query, ""))
        return None

    def _call(self, seconds: float, *sent: str | None, commits: bool = False) -> Call:
        sent = (self._config.api_key, *sent)
        return Call(provider=self.name, seconds=seconds, commits=commits, sent=sent)


def count_characters(text: str) -> int:
    """Characters as Qwen bills and limits them: a Han character counts twice."""
    return len(text) + len(_HAN.findall(text))


def _voice(listed: ListedVoice) -> ProviderVoice:
    named = _VOICE.fullmatch(listed.voice)
    return ProviderVoice(
        provider_voice_id=listed.voice,
        label=named[1] if named else None,
        target_model=listed.target_model,
        language=listed.language if listed.language in LANGUAGES else None,
    )


def _refused(call: Call, answer: ProviderResponse) -> ProviderError:
    try:
        error = msgspec.json.decode(answer.body, type=QwenError)
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = QwenError()
    return refusal(
        call,
        answer,
        errors.known(answer.status, error.code, error.message),
        provider_code=error.code,
        request_id=error.request_id,
        message=error.message,
    )
