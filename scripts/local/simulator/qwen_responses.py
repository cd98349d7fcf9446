"""Qwen's answers: refusals, results, server-sent events; its regions and its languages."""

import base64
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from scripts.local.simulator.audio import RATE
from scripts.local.simulator.calls import RefusedError
from scripts.local.simulator.http import Response, json_response

REGIONS = ("beijing", "singapore")
LANGUAGES = {  # ISO 639-1 to the name that a speech call takes
    "zh": "Chinese",
    "en": "English",
    "de": "German",
    "it": "Italian",
    "pt": "Portuguese",
    "es": "Spanish",
    "ja": "Japanese",
    "ko": "Korean",
    "fr": "French",
    "ru": "Russian",
}
DOWNLOAD_FAILED = (400, "BadRequest.InputDownloadFailed", "Failed to download the input file.")
BAD_KEY = (401, "InvalidApiKey", "Invalid API-key provided.")
CANNED = {
    "throttled": (429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
    "internal_error": (500, "InternalError", "An internal error has occured, please try again later."),
    "unavailable": (503, "ModelUnavailable", "Model is unavailable, please try again later."),
    "slots_full": (400, "Throttling.AllocationQuota", "Maximum voice storage limit exceeded."),
    "expired_url": DOWNLOAD_FAILED,
    "wrong_key": BAD_KEY,
    "wrong_region": BAD_KEY,
}


def refused(refusal: RefusedError) -> Response:
    body = {"request_id": new_request_id(), "code": refusal.code, "message": refusal.message}
    return json_response(body, refusal.status)


def answered(output: dict[str, Any], usage: dict[str, int]) -> Response:
    return json_response({"output": output, "usage": usage, "request_id": new_request_id()})


def new_request_id() -> str:
    digits = secrets.token_hex(16)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


async def speech_events(pcm: bytes, audio: dict[str, Any], usage: dict[str, int]) -> AsyncIterator[bytes]:
    """The speech in parts of half a second; the last part carries the url and no sound."""
    parts = [pcm[at : at + RATE] for at in range(0, len(pcm), RATE)]
    outputs: list[dict[str, Any]] = [
        {"audio": {**audio, "data": base64.b64encode(part).decode(), "url": ""}, "finish_reason": "null"}
        for part in parts
    ]
    outputs.append({"audio": audio, "finish_reason": "stop"})
    for number, output in enumerate(outputs, 1):
        data = msgspec.json.encode({"output": output, "usage": usage, "request_id": new_request_id()})
        yield b"id:%d\nevent:result\n:HTTP_STATUS/200\ndata:%s\n\n" % (number, data)
