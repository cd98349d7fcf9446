"""Qwen's surface: voice enrollment, speech (whole and as server-sent events) and the host of spoken files.

Served under `/qwen/{region}`, because a key works in one region only: a simulated key that names a region
(`sk-sim-beijing…`) is refused by the other with the vendor's 401.
"""

import asyncio
import base64
import re
import secrets
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

import httpx

from scripts.local.simulator.audio import RATE, STOCK, Analysis, UndecodableError, analyze
from scripts.local.simulator.calls import Call, RefusedError, perform
from scripts.local.simulator.forms import json_object
from scripts.local.simulator.http import Request, Response
from scripts.local.simulator.qwen_responses import (
    BAD_KEY,
    CANNED,
    DOWNLOAD_FAILED,
    LANGUAGES,
    REGIONS,
    answered,
    refused,
    speech_events,
    timestamp,
)
from scripts.local.simulator.speech import synthesize
from scripts.local.simulator.state import SimulatorState, Voice
from scripts.local.simulator.wav import pcm_wav

CUSTOMIZATION = "/api/v1/services/audio/tts/customization"
GENERATION = "/api/v1/services/aigc/multimodal-generation/generation"
SLOTS = 1000
MAX_BYTES = 10 * 1024 * 1024
RESULT_SECONDS = 24 * 3600
_NAME = re.compile(r"[a-zA-Z0-9_]{1,16}")
_DATA_URL = re.compile(r"data:audio/(wav|x-wav|mpeg|mp3|mp4|m4a|x-m4a);base64,(.*)", re.DOTALL)
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


class Qwen:
    name = "qwen"

    def __init__(self, state: SimulatorState, client: httpx.AsyncClient) -> None:
        self._state = state
        self._client = client
        self._results: OrderedDict[str, bytes] = OrderedDict()

    def refuse(self, refusal: RefusedError) -> Response:
        return refused(refusal)

    def canned(self, fault: str) -> RefusedError | None:
        return RefusedError(*CANNED[fault]) if fault in CANNED else None

    async def handle(self, request: Request, path: str) -> Response:
        region, _, rest = path.removeprefix("/").partition("/")
        if region not in REGIONS:
            return self.refuse(RefusedError(404, "NotFound", "Not found!"))
        if request.method == "GET" and rest.startswith("results/"):
            return await self._perform(request, "result", rest, lambda _: self._result(request, rest[8:]))
        body = json_object(request.body)
        given = body.get("input")
        given = given if isinstance(given, dict) else {}
        if request.method == "POST" and f"/{rest}" == CUSTOMIZATION:
            action = given.get("action")
            work = {"create": self._create, "list": self._list, "delete": self._delete}.get(str(action))
            if work is None:
                return self.refuse(RefusedError(400, "InvalidParameter", "Invalid action."))
            subject = str(given.get("preferred_name") or given.get("voice") or "")
        elif request.method == "POST" and f"/{rest}" == GENERATION:
            action, work = "speech", self._speak
            subject = f"{given.get('voice')} {given.get('text')}"
        else:
            return self.refuse(RefusedError(404, "NotFound", "Request path not found."))

        async def checked(call: Call) -> Response:
            _authorize(request, region)
            return await work(call, request, region, {"model": body.get("model"), **given})

        return await self._perform(request, str(action), subject, checked)

    async def _perform(self, request: Request, operation: str, subject: str, work: Any) -> Response:
        return await perform(self._state, self, request, operation, subject, work)

    async def _create(self, call: Call, _: Request, region: str, given: dict[str, Any]) -> Response:
        name = given.get("preferred_name")
        if given["model"] != "qwen-voice-enrollment":
            raise RefusedError(404, "ModelNotFound", "Model can not be found.")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise RefusedError(400, "InvalidParameter", "preferred_name is invalid.")
        if not str(given.get("target_model")).startswith("qwen3-tts-vc"):
            raise RefusedError(400, "InvalidParameter", "target_model is invalid.")
        if given.get("language", "zh") not in LANGUAGES:
            raise RefusedError(400, "InvalidParameter", "The currently set language is not supported!")
        audio = given.get("audio")
        analysis = await self._analyze(audio.get("data") if isinstance(audio, dict) else None)
        slots = self._state.slots or SLOTS
        if not self._state.instant and len(self._state.voices(self.name, region)) >= slots:
            raise RefusedError(*CANNED["slots_full"])
        now = time.time()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d%H%M%S%f")[:17]
        lag = call.fault("list_lag")
        voice = Voice(
            provider=self.name,
            voice_id=f"qwen-tts-vc-{name}-voice-{stamp}-{secrets.token_hex(2)}",
            label=name,
            account=region,
            language=given.get("language", "zh"),
            target_model=given["target_model"],
            created_at=now,
            pitch=analysis.pitch,
            sample_seconds=analysis.seconds,
            visible_at=now + lag.seconds if lag else 0.0,
            hidden_lists=lag.lists if lag else 0,
        )
        self._state.keep(voice)
        self._state.commit(call.record)
        output = {"voice": voice.voice_id, "target_model": voice.target_model, "fallback_mode": False}
        return answered(output, {"count": 1})

    async def _analyze(self, data: Any) -> Analysis:
        if not isinstance(data, str):
            raise RefusedError(400, "InvalidParameter", "audio.data is required.")
        if self._state.instant:
            return STOCK
        sample = await self._fetch(data) if data.startswith(("http://", "https://")) else _decoded(data)
        try:
            analysis = await asyncio.to_thread(analyze, sample)
        except UndecodableError:
            raise RefusedError(400, "Audio.DecoderError", "Decoder audio file failed.") from None
        if analysis.sample_rate < RATE:
            raise RefusedError(400, "Audio.AudioRateError", "File sample rate unsupported.")
        if analysis.seconds > 60:
            raise RefusedError(
                400, "Audio.DurationLimitError", "Audio duration exceeds maximum allowed limit."
            )
        if analysis.voiced_seconds < 0.1:
            raise RefusedError(400, "Audio.PreprocessError", "Audio preprocess error.")
        if min(analysis.seconds, analysis.voiced_seconds * 2) < 3:
            raise RefusedError(400, "Audio.PreprocessError", "No segments meet minimum duration requirement")
        return analysis

    async def _fetch(self, url: str) -> bytes:
        try:
            async with self._client.stream("GET", url, timeout=20, follow_redirects=True) as response:
                sample = bytearray()
                async for chunk in response.aiter_bytes():
                    sample += chunk
                    if len(sample) > MAX_BYTES:
                        raise RefusedError(400, "BadRequest.TooLarge", "Payload Too Large.")
                if response.status_code == 200:
                    return bytes(sample)
        except (httpx.HTTPError, httpx.InvalidURL):
            pass
        raise RefusedError(*DOWNLOAD_FAILED)

    async def _list(self, _: Call, __: Request, region: str, given: dict[str, Any]) -> Response:
        index, size = given.get("page_index", 0), given.get("page_size", 10)
        if not isinstance(index, int) or not isinstance(size, int) or index < 0 or size < 1:
            raise RefusedError(400, "InvalidParameter", "page_index or page_size is invalid.")
        voices = self._state.listed(self.name, region)
        listed = [
            {
                "voice": voice.voice_id,
                "gmt_create": timestamp(voice.created_at),
                "gmt_modified": timestamp(voice.created_at),
                "language": voice.language,
                "target_model": voice.target_model,
            }
            for voice in voices[index * size : (index + 1) * size]
        ]
        output = {
            "page_index": index,
            "page_size": size,
            "total_count": len(voices),
            "voice_list": listed,
        }
        return answered(output, {"count": 0})

    async def _delete(self, call: Call, _: Request, region: str, given: dict[str, Any]) -> Response:
        voice = self._voice(region, given)
        self._state.drop(voice)
        self._state.commit(call.record)
        return answered({"voice": voice.voice_id}, {"count": 0})

    def _voice(self, region: str, given: dict[str, Any]) -> Voice:
        wanted = str(given.get("voice"))
        voice = self._state.voice(self.name, region, wanted)
        if voice is None:
            raise RefusedError(400, "BadRequest.VoiceNotFound", f"Voice '{wanted}' not found.")
        return voice

    async def _speak(self, _: Call, request: Request, region: str, given: dict[str, Any]) -> Response:
        voice = self._voice(region, given)
        text = given.get("text")
        if given["model"] != voice.target_model:
            raise RefusedError(400, "InvalidParameter", "The voice does not belong to this model.")
        if not isinstance(text, str) or not 0 < len(text) + len(_HAN.findall(text)) <= 600:
            raise RefusedError(400, "InvalidParameter", "Range of input length should be [1, 600]")
        names = {name: code for code, name in LANGUAGES.items()}
        language = names.get(str(given.get("language_type")), voice.language or "en")
        pcm = await synthesize(text, language, voice.pitch, instant=self._state.instant)
        voice.used_at = time.time()
        url = self._publish(request, region, pcm)
        expires = int(time.time()) + RESULT_SECONDS
        audio = {"data": "", "expires_at": expires, "id": f"audio_{secrets.token_hex(8)}", "url": url}
        usage = {"characters": len(text)}
        if request.headers.get("x-dashscope-sse") != "enable":
            return answered({"audio": audio, "finish_reason": "stop"}, usage)
        return Response(
            body=speech_events(pcm, audio, usage), headers={"content-type": "text/event-stream;charset=UTF-8"}
        )

    def _publish(self, request: Request, region: str, pcm: bytes) -> str:
        name, signature = secrets.token_hex(8), secrets.token_urlsafe(16)
        self._results[f"{name}.wav?{signature}"] = pcm
        while len(self._results) > 200:
            self._results.popitem(last=False)
        host = request.headers.get("host", "127.0.0.1")
        expires = int(time.time()) + RESULT_SECONDS
        return f"http://{host}/qwen/{region}/results/{name}.wav?Expires={expires}&Signature={signature}"

    async def _result(self, request: Request, name: str) -> Response:
        pcm = self._results.get(f"{name}?{request.query.get('Signature')}")
        if pcm is None or request.query.get("Expires", "0") < str(int(time.time())):
            body = b"<Error><Code>AccessDenied</Code><Message>Request has expired.</Message></Error>"
            return Response(status=403, body=body, headers={"content-type": "application/xml"})
        return Response(body=pcm_wav(pcm, RATE), headers={"content-type": "audio/wav"})


def _authorize(request: Request, region: str) -> None:
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    named = next((other for other in REGIONS if other in key), region)
    if not key.startswith("sk-sim") or named != region:
        raise RefusedError(*BAD_KEY)


def _decoded(data_url: str) -> bytes:
    parts = _DATA_URL.fullmatch(data_url)
    if parts is None or len(data_url) > MAX_BYTES:
        raise RefusedError(400, "InvalidParameter", "audio.data is neither a URL nor a data URL below 10 MB.")
    try:
        return base64.b64decode(parts[2], validate=True)
    except ValueError:
        raise RefusedError(400, "Audio.DecoderError", "Decoder audio file failed.") from None
