"""Twilio's media host, and the callback that it sends when a recording is complete.

A recording is there once the control endpoint has sent its callback, after as many 404 as were asked for. The
auth token starts with sim-, and belongs to every account.
"""

import binascii
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator

import httpx
from msgspec import Struct, field

from scripts.local.simulator.audio import RATE
from scripts.local.simulator.calls import Call, RefusedError, perform
from scripts.local.simulator.http import Request, Response, json_response
from scripts.local.simulator.speech import synthesize
from scripts.local.simulator.state import SimulatorState
from scripts.local.simulator.wav import pcm_wav

OPERATION = "recording"
CANNED = {
    "throttled": (429, "20429", "Too Many Requests"),
    "internal_error": (500, "20500", "Internal Server Error"),
    "unavailable": (503, "20503", "Service Unavailable"),
    "wrong_key": (401, "20003", "Authenticate"),
}
MEDIA = re.compile(r"/2010-04-01/Accounts/(AC[0-9a-f]{32})/Recordings/(RE[0-9a-f]{32})(\.wav)?")


def new_sid(prefix: str) -> str:
    return prefix + secrets.token_hex(16)


class Recording(Struct, kw_only=True):
    account_sid: str
    audio: bytes
    missing: int


class Callback(Struct, kw_only=True, forbid_unknown_fields=True):
    """`POST /_control/twilio/callbacks`: makes the recording, and sends its callback to `url`.

    `signed_url`: the public address, where it differs from `url`. `missing`: how many fetches answer 404.
    `times`: how often the same callback is sent. `fields` are added to the form, or replace a field of it.
    """

    url: str
    auth_token: str
    account_sid: str
    call_sid: str
    media_url: str  # the address of this simulator's /twilio
    signed_url: str = ""
    recording_sid: str = field(default_factory=lambda: new_sid("RE"))
    status: str = "completed"
    start_time: str = ""
    text: str = "This call is recorded. Please say a few words about your work."
    missing: int = 0
    times: int = 1
    fields: dict[str, str] = field(default_factory=dict)

    def form(self, seconds: int) -> dict[str, str]:
        path = f"2010-04-01/Accounts/{self.account_sid}/Recordings/{self.recording_sid}"
        form = {
            "AccountSid": self.account_sid,
            "CallSid": self.call_sid,
            "RecordingSid": self.recording_sid,
            "RecordingUrl": f"{self.media_url}/{path}",
            "RecordingStatus": self.status,
            "RecordingDuration": str(seconds),
            "RecordingChannels": "1",
            "RecordingSource": "OutboundAPI",
            "RecordingStartTime": self.start_time,
            "ErrorCode": "0",
        }
        return form | self.fields


class Sent(Struct, kw_only=True):
    recording_sid: str
    statuses: list[int]


class Twilio:
    name = "twilio"

    def __init__(self, state: SimulatorState, client: httpx.AsyncClient) -> None:
        self._state = state
        self._client = client
        self._recordings: dict[str, Recording] = {}

    def refuse(self, refusal: RefusedError) -> Response:
        body = {"code": int(refusal.code), "message": refusal.message, "status": refusal.status}
        return json_response(body, refusal.status)

    def canned(self, fault: str) -> RefusedError | None:
        return RefusedError(*CANNED[fault]) if fault in CANNED else None

    async def handle(self, request: Request, path: str) -> Response:
        found = MEDIA.fullmatch(path)
        account_sid, recording_sid = (found[1], found[2]) if found else ("", "")

        async def work(call: Call) -> Response:
            if not account_sid or not is_login(request.headers.get("authorization", ""), account_sid):
                raise RefusedError(*CANNED["wrong_key"])
            if fault := call.fault("redirect"):
                return Response(status=307, headers={"location": fault.message})
            if call.fault("oversize"):
                return Response(body=without_end(), headers={"content-type": "audio/x-wav"})
            recording = self._recordings.get(recording_sid)
            if recording is None or recording.account_sid != account_sid or recording.missing > 0:
                if recording is not None:
                    recording.missing -= 1
                raise RefusedError(404, "20404", "The requested resource was not found")
            return Response(body=recording.audio, headers={"content-type": "audio/x-wav"})

        return await perform(self._state, self, request, OPERATION, recording_sid, work)

    async def send(self, callback: Callback) -> Sent:
        pcm = await synthesize(callback.text, "en", 120.0, instant=self._state.instant)
        self._recordings[callback.recording_sid] = Recording(
            account_sid=callback.account_sid, audio=pcm_wav(pcm, RATE), missing=callback.missing
        )
        form = callback.form(len(pcm) // 2 // RATE)
        signature = sign(callback.auth_token, callback.signed_url or callback.url, form)
        statuses = []
        for _ in range(callback.times):
            answer = await self._client.post(
                callback.url, data=form, headers={"x-twilio-signature": signature}, timeout=30
            )
            statuses.append(answer.status_code)
        return Sent(recording_sid=callback.recording_sid, statuses=statuses)


def sign(auth_token: str, url: str, form: dict[str, str]) -> str:
    text = url + "".join(f"{name}{form[name]}" for name in sorted(form))
    return b64encode(hmac.digest(auth_token.encode(), text.encode(), "sha1")).decode()


def is_login(header: str, account_sid: str) -> bool:
    scheme, _, encoded = header.partition(" ")
    try:
        user, _, password = b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeError):
        return False
    return scheme == "Basic" and user == account_sid and password.startswith("sim-")


async def without_end() -> AsyncIterator[bytes]:
    yield b"RIFF\xff\xff\xff\xffWAVE"
    while True:
        yield bytes(1 << 16)
