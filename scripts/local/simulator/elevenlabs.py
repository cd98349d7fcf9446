"""ElevenLabs' surface: instant clones, the voice list, the subscription and speech."""

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from scripts.local.simulator.audio import CONTENT_TYPES, STOCK, Analysis, UndecodableError, analyze, encode
from scripts.local.simulator.calls import Call, RefusedError, perform
from scripts.local.simulator.elevenlabs_responses import (
    CANNED,
    FieldsMissingError,
    read_labels,
    refused,
    shown,
)
from scripts.local.simulator.forms import Form, json_object, parse_form
from scripts.local.simulator.http import Request, Response, json_response
from scripts.local.simulator.speech import synthesize
from scripts.local.simulator.state import REFUSAL, SimulatorState, Voice

SLOTS = 660
MAX_FILE_BYTES = 11 * 1024 * 1024
SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 600.0
MAX_CHARACTERS = {
    "eleven_flash_v2_5": 40_000,
    "eleven_turbo_v2_5": 40_000,
    "eleven_multilingual_v2": 10_000,
    "eleven_v3": 5_000,
}
_ACCOUNT = "default"
_KEY = re.compile(r"(sk[-_])?sim[-_].+")
_FORMAT = re.compile(r"(mp3|pcm|wav|ulaw|opus)_(\d+)(_\d+)?")
Work = Callable[[Call], Awaitable[Response]]


class ElevenLabs:
    name = "elevenlabs"

    def __init__(self, state: SimulatorState) -> None:
        self._state = state

    def refuse(self, refusal: RefusedError) -> Response:
        return refused(refusal)

    def canned(self, fault: str) -> RefusedError | None:
        return RefusedError(*CANNED[fault]) if fault in CANNED else None

    async def handle(self, request: Request, path: str) -> Response:
        operation, subject, work = self._route(request, path)

        async def checked(call: Call) -> Response:
            if not _KEY.fullmatch(request.headers.get("xi-api-key", "")):
                raise RefusedError(*CANNED["wrong_key"])
            response = await work(call)
            response.headers.setdefault("request-id", secrets.token_hex(16))
            return response

        return await perform(self._state, self, request, operation, subject, checked)

    def _route(self, request: Request, path: str) -> tuple[str, str, Work]:
        """The operation, what a fault may match, and the work."""
        parts = path.strip("/").split("/")
        match request.method, parts:
            case "POST", ["v1", "voices", "add"]:
                form = parse_form(request)
                return "create", form.fields.get("name", ""), lambda call: self._create(call, form)
            case "GET", ["v2", "voices"]:
                asked = f"{request.query.get('search', '')} {request.query.get('next_page_token', '')}"
                return "list", asked.strip(), lambda _: self._list(request)
            case "GET", ["v1", "voices"]:
                return "list", "", lambda _: self._list_all()
            case "GET", ["v1", "user", "subscription"]:
                return "subscription", "", lambda _: self._subscription()
            case "GET", ["v1", "voices", voice_id]:
                return "get", voice_id, lambda _: self._get(voice_id)
            case "DELETE", ["v1", "voices", voice_id]:
                return "delete", voice_id, lambda call: self._delete(call, voice_id)
            case "POST", ["v1", "voices", voice_id, "edit"]:
                form = parse_form(request)
                return "edit", voice_id, lambda call: self._edit(call, voice_id, form)
            case "POST", ["v1", "text-to-speech", voice_id, *rest] if rest in ([], ["stream"]):
                body = json_object(request.body)
                subject = f"{voice_id} {body.get('text')}"
                return "speech", subject, lambda _: self._speak(request, voice_id, body, stream=bool(rest))
            case _:
                return "unknown", path, _not_found

    async def _create(self, call: Call, form: Form) -> Response:
        missing = [name for name in ("name",) if not form.fields.get(name)]
        if missing or not form.files:
            raise FieldsMissingError(*missing, *([] if form.files else ["files"]))
        labels = read_labels(form)
        analyses = [await self._analyze(content) for field, content in form.files if field == "files"]
        if not self._state.instant:
            used = len(self._state.voices(self.name, _ACCOUNT))
            if used >= (slots := self._state.slots or SLOTS):
                message = f"You have reached your maximum amount of custom voices ({used} / {slots})."
                raise RefusedError(400, "voice_limit_reached", message)
        now, lag = time.time(), call.fault("list_lag")
        check = call.fault("verification_required")
        voice = Voice(
            provider=self.name,
            voice_id=secrets.token_hex(10),
            label=form.fields["name"],
            account=_ACCOUNT,
            description=form.fields.get("description"),
            removes_noise=form.fields.get("remove_background_noise") == "true",
            labels=labels,
            created_at=now,
            pitch=analyses[0].pitch,
            sample_seconds=sum(each.seconds for each in analyses),
            visible_at=now + lag.seconds if lag else 0.0,
            hidden_lists=lag.lists if lag else 0,
            requires_verification=check is not None,
            polls_left=check.polls if check else None,
            will_be_refused=check is not None and check.refused,
        )
        self._state.keep(voice)
        self._state.commit(call.record)
        match = (
            {"library_voice_id": "lib", "public_owner_id": "owner"} if voice.requires_verification else None
        )
        return json_response(
            {
                "voice_id": voice.voice_id,
                "requires_verification": voice.requires_verification,
                "library_voice_match": match,
            }
        )

    async def _analyze(self, content: bytes) -> Analysis:
        if self._state.instant:
            return STOCK
        if len(content) > MAX_FILE_BYTES:
            raise RefusedError(400, "file_too_large", "A file is larger than 11 MB.")
        try:
            analysis = await asyncio.to_thread(analyze, content)
        except UndecodableError:
            raise RefusedError(400, "invalid_audio", "The audio file could not be read.") from None
        if analysis.seconds < SHORTEST_SECONDS or analysis.voiced_seconds < 0.1:
            raise RefusedError(400, "audio_too_short", "The audio is too short.")
        if analysis.seconds > LONGEST_SECONDS:
            raise RefusedError(400, "audio_too_long", "The audio is too long.")
        return analysis

    async def _list(self, request: Request) -> Response:
        page_size, token = request.query.get("page_size", "10"), request.query.get("next_page_token") or "0"
        if not page_size.isdecimal() or not token.isdecimal() or not 1 <= int(page_size) <= 100:
            raise FieldsMissingError("page_size", place="query", message="Input should be 1 to 100")
        size, start = int(page_size), int(token)
        search, ids = request.query.get("search", "").lower(), request.query.get("voice_ids")
        category = request.query.get("category", "cloned")
        voices = [
            voice
            for voice in self._state.listed(self.name, _ACCOUNT)
            if category == "cloned"
            and search in " ".join((voice.label, voice.description or "", *voice.labels.values())).lower()
            and (ids is None or voice.voice_id in ids.split(","))
        ]
        end = start + size
        more = end < len(voices)
        page = {
            "voices": [shown(voice) for voice in voices[start:end]],
            "has_more": more,
            "total_count": len(voices),
            "next_page_token": str(end) if more else None,
        }
        return json_response(page)

    async def _list_all(self) -> Response:
        voices = self._state.listed(self.name, _ACCOUNT)
        if len(voices) > 500:
            raise RefusedError(400, "invalid_parameters", "Use GET /v2/voices above 500 voices.")
        return json_response({"voices": [shown(voice) for voice in voices]})

    async def _get(self, voice_id: str) -> Response:
        voice = self._voice(voice_id)
        if voice.polls_left == 0:
            voice.verify(REFUSAL if voice.will_be_refused else None)
        elif voice.polls_left:
            voice.polls_left -= 1
        return json_response(shown(voice))

    async def _delete(self, call: Call, voice_id: str) -> Response:
        self._state.drop(self._voice(voice_id))
        self._state.commit(call.record)
        return json_response({"status": "ok"})

    async def _edit(self, call: Call, voice_id: str, form: Form) -> Response:
        voice = self._voice(voice_id)
        voice.label = form.fields.get("name", voice.label)
        voice.description = form.fields.get("description", voice.description)
        voice.labels = read_labels(form) or voice.labels
        self._state.keep(voice)
        self._state.commit(call.record)
        return json_response({"status": "ok"})

    async def _subscription(self) -> Response:
        used = len(self._state.voices(self.name, _ACCOUNT))
        plan = {
            "tier": "creator",
            "voice_slots_used": used,
            "voice_limit": 1_000_000 if self._state.instant else self._state.slots or SLOTS,
            "voice_add_edit_counter": used,
            "max_voice_add_edits": 1_000_000,
        }
        return json_response(plan)

    async def _speak(
        self, request: Request, voice_id: str, body: dict[str, Any], *, stream: bool
    ) -> Response:
        voice, text = self._voice(voice_id), body.get("text")
        model = body.get("model_id", "eleven_multilingual_v2")
        if not isinstance(text, str):
            raise FieldsMissingError("text")
        if model not in MAX_CHARACTERS:
            raise RefusedError(404, "model_not_found", f"A model with id {model} does not exist.")
        if not text.strip():
            raise RefusedError(400, "empty_text", "The text is empty.")
        if len(text) > MAX_CHARACTERS[model]:
            raise RefusedError(400, "text_too_long", f"At most {MAX_CHARACTERS[model]} characters.")
        if body.get("language_code") and model == "eleven_multilingual_v2":
            raise RefusedError(400, "invalid_parameters", f"Model {model} does not support language_code.")
        if voice.requires_verification and not voice.is_verified:
            raise RefusedError(403, "voice_access_denied", "This voice requires verification before use.")
        audio_format = _FORMAT.fullmatch(request.query.get("output_format", "mp3_44100_128"))
        if audio_format is None:
            raise RefusedError(400, "invalid_parameters", "output_format is unknown.")
        language = str(body.get("language_code") or "en")
        pcm = await synthesize(text, language, voice.pitch, instant=self._state.instant)
        audio = await asyncio.to_thread(encode, pcm, audio_format[1], int(audio_format[2]))
        headers = {
            "content-type": CONTENT_TYPES[audio_format[1]],
            "character-cost": str(len(text)),
            "current-concurrent-requests": "1",
            "maximum-concurrent-requests": "15",
        }
        return Response(body=_chunks(audio) if stream else audio, headers=headers)

    def _voice(self, voice_id: str) -> Voice:
        voice = self._state.voice(self.name, _ACCOUNT, voice_id)
        if voice is None:
            raise RefusedError(404, "voice_not_found", f"A voice with ID {voice_id} was not found.")
        return voice


async def _not_found(_: Call) -> Response:
    return json_response({"detail": "Not Found"}, 404)


async def _chunks(audio: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(audio), 16_384):
        yield audio[at : at + 16_384]
