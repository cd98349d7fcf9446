"""Cartesia's surface: instant clones, the voice list and speech."""

import asyncio
import re
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from scripts.local.simulator.audio import CONTENT_TYPES, STOCK, Analysis, UndecodableError, analyze, encode
from scripts.local.simulator.calls import Call, RefusedError, perform
from scripts.local.simulator.forms import Form, json_object, parse_form
from scripts.local.simulator.http import Request, Response, json_response
from scripts.local.simulator.speech import synthesize
from scripts.local.simulator.state import SimulatorState, Voice

SLOTS = 1000
MAX_CHARACTERS = 5_000
MAX_CLIP_BYTES = 11 * 1024 * 1024
SHORTEST_SECONDS = 1.0
VERSIONS = ("2026-03-01", "2026-08-14")  # whose errors are JSON
# fmt: off
LANGUAGES = (
    "en", "fr", "de", "es", "pt", "zh", "ja", "hi", "it", "ko", "nl", "pl", "ru", "sv", "tr", "tl",
    "bg", "ro", "ar", "cs", "el", "fi", "hr", "ms", "sk", "da", "ta", "uk", "hu", "no", "vi", "bn",
    "th", "he", "ka", "id", "te", "gu", "kn", "ml", "mr", "pa", "or", "ur",
)
# fmt: on
CANNED = {
    "throttled": (429, "concurrency_limited", "You have exceeded your plan's concurrency limit."),
    "internal_error": (500, "", "An internal error occurred."),
    "unavailable": (503, "", "The service is temporarily unavailable."),
    "slots_full": (402, "", "Your plan has no more voices. Upgrade your plan."),
    "wrong_key": (401, "", "The API key is not valid."),
}
_ACCOUNT = "default"
_KEY = re.compile(r"Bearer (sk[-_])?sim[-_].+")
_MODEL = re.compile(r"sonic(-[a-z0-9.-]+)?")
_CONTAINERS = {"wav": "wav", "raw": "pcm", "mp3": "mp3"}
Work = Callable[[Call], Awaitable[Response]]


class Cartesia:
    name = "cartesia"

    def __init__(self, state: SimulatorState) -> None:
        self._state = state

    def refuse(self, refusal: RefusedError) -> Response:
        body = {
            "error_code": refusal.code or None,
            "title": refusal.message.partition(".")[0],
            "message": refusal.message,
            "request_id": str(uuid.UUID(bytes=secrets.token_bytes(16))),
        }
        return json_response(body, refusal.status)

    def canned(self, fault: str) -> RefusedError | None:
        return RefusedError(*CANNED[fault]) if fault in CANNED else None

    async def handle(self, request: Request, path: str) -> Response:
        operation, subject, work = self._route(request, path)

        async def checked(call: Call) -> Response:
            if not _KEY.fullmatch(request.headers.get("authorization", "")):
                raise RefusedError(*CANNED["wrong_key"])
            if request.headers.get("cartesia-version") not in VERSIONS:
                raise RefusedError(400, "", "Cartesia-Version is missing or unknown.")
            return await work(call)

        return await perform(self._state, self, request, operation, subject, checked)

    def _route(self, request: Request, path: str) -> tuple[str, str, Work]:
        """The operation, what a fault may match, and the work."""
        match request.method, path.strip("/").split("/"):
            case "POST", ["voices", "clone"]:
                form = parse_form(request)
                return "create", form.fields.get("name", ""), lambda call: self._create(call, form)
            case "GET", ["voices"]:
                return "list", request.query.get("q", ""), lambda _: self._list(request)
            case "GET", ["voices", voice_id]:
                return "get", voice_id, lambda _: self._get(voice_id)
            case "DELETE", ["voices", voice_id]:
                return "delete", voice_id, lambda call: self._delete(call, voice_id)
            case "POST", ["tts", "bytes"]:
                body = json_object(request.body)
                voice = body.get("voice")
                voice_id = str(voice.get("id")) if isinstance(voice, dict) else ""
                return "speech", f"{voice_id} {body.get('transcript')}", lambda _: self._speak(voice_id, body)
            case _:
                return "unknown", path, _not_found

    async def _create(self, call: Call, form: Form) -> Response:
        name, language = form.fields.get("name"), form.fields.get("language")
        clips = [content for field, content in form.files if field == "clip"]
        if not name or len(clips) != 1:
            raise RefusedError(400, "", "A name and one clip are required.")
        if language not in LANGUAGES:
            raise RefusedError(400, "", "The language is not supported.")
        analysis = await self._analyze(clips[0])
        held = len(self._state.voices(self.name, _ACCOUNT))
        if not self._state.instant and held >= (self._state.slots or SLOTS):
            raise RefusedError(*CANNED["slots_full"])
        now, lag = time.time(), call.fault("list_lag")
        voice = Voice(
            provider=self.name,
            voice_id=str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)),
            label=name,
            account=_ACCOUNT,
            language=language,
            description=form.fields.get("description"),
            created_at=now,
            pitch=analysis.pitch,
            sample_seconds=analysis.seconds,
            visible_at=now + lag.seconds if lag else 0.0,
            hidden_lists=lag.lists if lag else 0,
        )
        self._state.keep(voice)
        self._state.commit(call.record)
        cloned = {"user_id": "user_of_the_key", "access": "private", "visibility": "owner", "tagline": ""}
        return json_response({**_shown(voice), **cloned})

    async def _analyze(self, clip: bytes) -> Analysis:
        if self._state.instant:
            return STOCK
        if len(clip) > MAX_CLIP_BYTES:
            raise RefusedError(413, "", "The clip is too large.")
        try:
            analysis = await asyncio.to_thread(analyze, clip)
        except UndecodableError:
            raise RefusedError(400, "", "The clip could not be decoded.") from None
        if analysis.seconds < SHORTEST_SECONDS or analysis.voiced_seconds < 0.1:
            raise RefusedError(400, "", "The clip is too short.")
        return analysis

    async def _list(self, request: Request) -> Response:
        limit, after = request.query.get("limit", "10"), request.query.get("starting_after")
        if not limit.isdecimal() or not 1 <= int(limit) <= 100:
            raise RefusedError(400, "", "limit is 1 to 100.")
        wanted = request.query.get("q", "").lower()
        voices = [
            voice
            for voice in self._state.listed(self.name, _ACCOUNT)
            if wanted in " ".join((voice.label, voice.description or "", voice.voice_id)).lower()
        ]
        if after:
            ids = [voice.voice_id for voice in voices]
            voices = voices[ids.index(after) + 1 :] if after in ids else []
        return json_response({"data": [_shown(voice) for voice in voices[: int(limit)]]})

    async def _get(self, voice_id: str) -> Response:
        return json_response(_shown(self._voice(voice_id, 404)))

    async def _delete(self, call: Call, voice_id: str) -> Response:
        self._state.drop(self._voice(voice_id, 404))
        self._state.commit(call.record)
        return Response(status=204)

    async def _speak(self, voice_id: str, body: dict[str, Any]) -> Response:
        voice, text, wanted = self._voice(voice_id, 400), body.get("transcript"), body.get("output_format")
        if not _MODEL.fullmatch(str(body.get("model_id"))):
            raise RefusedError(400, "model_not_found", "The model is not valid.")
        if not isinstance(text, str) or not text.strip():
            raise RefusedError(400, "", "The transcript is empty.")
        if len(text) > MAX_CHARACTERS:
            raise RefusedError(400, "", f"The transcript has at most {MAX_CHARACTERS} characters.")
        wanted = wanted if isinstance(wanted, dict) else {}
        container, rate = _CONTAINERS.get(str(wanted.get("container"))), wanted.get("sample_rate")
        if (
            container is None
            or not isinstance(rate, int)
            or wanted.get("encoding", "pcm_s16le") != "pcm_s16le"
        ):
            raise RefusedError(400, "", "The output format is not supported.")
        language = str(body.get("language") or voice.language or "en")
        pcm = await synthesize(text, language, voice.pitch, instant=self._state.instant)
        audio = await asyncio.to_thread(encode, pcm, container, rate)
        return Response(body=audio, headers={"content-type": CONTENT_TYPES[container]})

    def _voice(self, voice_id: str, status: int) -> Voice:
        voice = self._state.voice(self.name, _ACCOUNT, voice_id)
        if voice is None:
            raise RefusedError(
                status, "voice_not_found", "The voice is not valid, make sure it is a valid voice ID."
            )
        return voice


def _shown(voice: Voice) -> dict[str, Any]:
    return {
        "id": voice.voice_id,
        "name": voice.label,
        "description": voice.description or "",
        "language": voice.language,
        "is_owner": True,
        "is_public": False,
        "created_at": datetime.fromtimestamp(voice.created_at, UTC).isoformat(),
    }


async def _not_found(_: Call) -> Response:
    return Response(status=404, body=b"404 page not found\n", headers={"content-type": "text/plain"})
