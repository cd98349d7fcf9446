"""A self-hosted zero-shot model, served twice: /pipecat asks for no key, /modal for one.

It keeps nothing: `POST /synthesize` has the sample with each text. A call without audio, by which clients
check that it answers, is the operation `check` of faults; the others are `speech`.
"""

import asyncio
import re
import secrets
from http import HTTPStatus

from scripts.local.simulator.audio import RATE, STOCK, UndecodableError, analyze
from scripts.local.simulator.calls import Call, RefusedError, perform
from scripts.local.simulator.forms import Form, parse_form
from scripts.local.simulator.http import Request, Response, json_response
from scripts.local.simulator.speech import synthesize
from scripts.local.simulator.state import SimulatorState
from scripts.local.simulator.wav import pcm_wav

MAX_CHARACTERS = 2_000
SHORTEST_SECONDS = 1.0
CANNED = {
    "throttled": (429, "overloaded", "Every worker is busy."),
    "internal_error": (500, "internal_error", "The model failed."),
    "unavailable": (503, "starting", "The model is being loaded."),
    "wrong_key": (401, "key_refused", "The key is not valid."),
}
_KEY = re.compile(r"Bearer sim[-_].+")


class Reference:
    def __init__(self, state: SimulatorState, name: str, *, needs_key: bool) -> None:
        self.name = name
        self._state = state
        self._needs_key = needs_key

    def refuse(self, refusal: RefusedError) -> Response:
        problem = {
            "title": HTTPStatus(refusal.status).phrase,
            "status": refusal.status,
            "code": refusal.code,
            "detail": refusal.message,
            "request_id": secrets.token_hex(8),
        }
        return json_response(problem, refusal.status, {"content-type": "application/problem+json"})

    def canned(self, fault: str) -> RefusedError | None:
        return RefusedError(*CANNED[fault]) if fault in CANNED else None

    async def handle(self, request: Request, path: str) -> Response:
        form = parse_form(request)
        text = form.fields.get("text", "")
        operation = "speech" if form.files else "check"

        async def work(_: Call) -> Response:
            if self._needs_key and not _KEY.fullmatch(request.headers.get("authorization", "")):
                raise RefusedError(*CANNED["wrong_key"])
            if path != "/synthesize":
                raise RefusedError(404, "not_found", "There is only POST /synthesize.")
            if request.method != "POST":
                raise RefusedError(405, "method_not_allowed", "There is only POST /synthesize.")
            return await self._speak(form, text)

        return await perform(self._state, self, request, operation, text, work)

    async def _speak(self, form: Form, text: str) -> Response:
        audio = next((content for field, content in form.files if field == "audio"), None)
        if audio is None:
            raise RefusedError(422, "audio_missing", "The part audio is missing.")
        if not text.strip():
            raise RefusedError(422, "text_empty", "There is no text.")
        if len(text) > MAX_CHARACTERS:
            raise RefusedError(422, "text_too_long", f"At most {MAX_CHARACTERS} characters.")
        pitch = await self._pitch(audio)
        pcm = await synthesize(text, form.fields.get("language", "en"), pitch, instant=self._state.instant)
        headers = {"content-type": "audio/wav", "x-request-id": secrets.token_hex(8)}
        return Response(body=pcm_wav(pcm, RATE), headers=headers)

    async def _pitch(self, audio: bytes) -> float:
        if self._state.instant:
            return STOCK.pitch
        try:
            analysis = await asyncio.to_thread(analyze, audio)
        except UndecodableError:
            raise RefusedError(422, "sample_rejected", "The audio could not be decoded.") from None
        if analysis.seconds < SHORTEST_SECONDS:
            raise RefusedError(422, "sample_rejected", "The audio is too short.")
        return analysis.pitch
