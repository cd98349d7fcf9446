"""ElevenLabs' answers: refusals in each of its three shapes, and a voice; and the labels that it is sent."""

import json
import secrets
from typing import Any

from scripts.local.simulator.calls import RefusedError
from scripts.local.simulator.forms import Form
from scripts.local.simulator.http import Response, json_response
from scripts.local.simulator.state import Voice

_TYPES = {
    400: "validation_error",
    401: "authentication_error",
    402: "payment_required",
    403: "authorization_error",
    404: "not_found",
    409: "conflict",
    429: "rate_limit_error",
    503: "service_unavailable",
}
BAD_KEY = (401, "invalid_api_key", "Invalid API key")
CANNED = {
    "throttled": (429, "rate_limit_exceeded", "Too many requests. Try again later."),
    "internal_error": (500, "internal_error", "An internal error occurred."),
    "unavailable": (503, "service_unavailable", "The service is temporarily unavailable."),
    "slots_full": (
        400,
        "voice_limit_reached",
        "You have reached your maximum amount of custom voices (10 / 10).",
    ),
    "wrong_key": BAD_KEY,
    "wrong_region": BAD_KEY,
}


class FieldsMissingError(RefusedError):
    """FastAPI's 422: one entry for each field."""

    def __init__(self, *fields: str, place: str = "body", message: str = "Field required") -> None:
        super().__init__(422, "missing", message)
        self.entries = [{"loc": [place, field], "msg": message, "type": "missing"} for field in fields]


def refused(refusal: RefusedError) -> Response:
    request_id = secrets.token_hex(16)
    detail: Any = {
        "type": _TYPES.get(refusal.status, "internal_error"),
        "code": refusal.code,
        "message": refusal.message,
        "status": refusal.code,
        "request_id": request_id,
    }
    if refusal.code == "voice_limit_reached":  # seen in the older shape only
        detail = {"status": refusal.code, "message": refusal.message}
    if isinstance(refusal, FieldsMissingError):
        detail = refusal.entries
    return json_response({"detail": detail}, refusal.status, {"request-id": request_id})


def read_labels(form: Form) -> dict[str, str]:
    try:
        labels = json.loads(form.fields.get("labels") or "{}")
        return {str(key): str(value) for key, value in labels.items()}
    except (ValueError, AttributeError):
        raise RefusedError(400, "invalid_parameters", "labels is not a JSON object.") from None


def shown(voice: Voice) -> dict[str, Any]:
    return {
        "voice_id": voice.voice_id,
        "name": voice.label,
        "category": "cloned",
        "labels": voice.labels,
        "description": voice.description,
        "preview_url": None,
        "samples": [],
        "settings": None,
        "is_owner": True,
        "created_at_unix": int(voice.created_at),
        "voice_verification": {
            "requires_verification": voice.requires_verification,
            "is_verified": voice.is_verified,
            "verification_failures": voice.verification_failures,
            "verification_attempts_count": voice.verification_attempts,
            "language": voice.language,
        },
    }
