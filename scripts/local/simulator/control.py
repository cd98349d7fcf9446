"""The control endpoint, `/_control/…`: faults, waiting, release, verification, callbacks, state, reset."""

from typing import Literal

import msgspec
from msgspec import Struct

from scripts.local.simulator.faults import Fault
from scripts.local.simulator.http import Request, Response, json_response
from scripts.local.simulator.state import REFUSAL, VENDORS, Phase, SimulatorState
from scripts.local.simulator.twilio import Callback, Twilio


class Wait(Struct, kw_only=True):
    """The query of `GET /_control/wait`: until `count` calls were seen in `phase`, or 408 after `timeout`."""

    provider: str
    operation: str
    count: int = 1
    phase: Phase = "arrived"
    label: str | None = None
    timeout: float = 10.0


class Verification(Struct, kw_only=True):
    voice_id: str
    outcome: Literal["verified", "failed"]
    provider: str = "elevenlabs"
    reason: str = REFUSAL


class Unused(Struct, kw_only=True):
    """Qwen deletes a voice that was neither made nor used for a year: here, since this time (Unix)."""

    since: float
    provider: Literal["qwen"] = "qwen"


class Control:
    def __init__(self, state: SimulatorState, twilio: Twilio) -> None:
        self._state = state
        self._twilio = twilio

    async def handle(self, request: Request, path: str) -> Response:
        try:
            if (request.method, path) == ("POST", "/twilio/callbacks"):
                callback = msgspec.json.decode(request.body, type=Callback)
                return json_response(await self._twilio.send(callback))
            return await self._control(request, path)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            return json_response({"error": str(error)}, 400)

    async def _control(self, request: Request, path: str) -> Response:
        match request.method, path.strip("/"):
            case "POST", "faults":
                given = msgspec.json.decode(request.body, type=Fault | list[Fault])
                for fault in given if isinstance(given, list) else [given]:
                    self._state.inject(fault)
                return json_response({"pending": self._state.faults.pending}, 201)
            case "DELETE", "faults":
                self._state.faults.pending.clear()
                return json_response({"pending": []})
            case "GET", "state":
                return json_response(self._describe())
            case "GET", "wait":
                return await self._wait(msgspec.convert(request.query, Wait, strict=False))
            case "POST", "release":
                return json_response({"released": self._state.release()})
            case "POST", "verification":
                return self._verify(msgspec.json.decode(request.body, type=Verification))
            case "POST", "unused":
                unused = msgspec.json.decode(request.body, type=Unused)
                return json_response({"deleted": self._state.drop_unused(unused.provider, unused.since)})
            case "POST", "reset":
                self._state.reset()
                return json_response({"voices": 0})
            case _:
                return json_response({"error": "no such control"}, 404)

    def _describe(self) -> dict[str, object]:
        voices: dict[str, list[object]] = {vendor: [] for vendor in VENDORS}
        for voice in self._state.all_voices():
            voices.setdefault(voice.provider, []).append(voice)
        return {
            "voices": voices,
            "calls": list(self._state.calls),
            "faults": self._state.faults.pending,
            "hanging": self._state.hanging,
        }

    async def _wait(self, wait: Wait) -> Response:
        seen = await self._state.wait(
            wait.provider, wait.operation, wait.phase, wait.label, wait.count, wait.timeout
        )
        return json_response({"count": seen}, 200 if seen >= wait.count else 408)

    def _verify(self, given: Verification) -> Response:
        for voice in self._state.all_voices():
            if (voice.provider, voice.voice_id) == (given.provider, given.voice_id):
                voice.verify(given.reason if given.outcome == "failed" else None)
                self._state.keep(voice)
                return json_response(voice)
        return json_response({"error": "no such voice"}, 404)
