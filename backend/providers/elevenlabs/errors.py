"""ElevenLabs' error codes as our kinds; older bodies carry the same words in `detail.status`."""

from backend.providers.base import ErrorKind
from backend.providers.http import (
    FULL,
    MISCONFIGURED,
    PLAN_INSUFFICIENT,
    QUOTA_EXCEEDED,
    REJECTED,
    SAMPLE_TOO_LARGE,
    TEXT_EMPTY,
    TEXT_TOO_LONG,
    THROTTLED,
    UNAVAILABLE,
    UNKNOWN,
    VOICE_NOT_FOUND,
    Failure,
)

_UNDECODABLE = Failure(
    ErrorKind.REJECTED, "invalid_format", "The voice provider could not decode the sample. WAV or MP3 pass."
)
_NO_ACCESS = Failure(
    ErrorKind.REJECTED, "voice_access_denied", "The voice provider does not let this account use the voice."
)

ERRORS: dict[str, Failure] = {
    "text_too_long": TEXT_TOO_LONG,
    "empty_text": TEXT_EMPTY,
    "invalid_voice_id": VOICE_NOT_FOUND,
    "invalid_audio": _UNDECODABLE,
    "invalid_audio_format": _UNDECODABLE,
    "invalid_file_type": _UNDECODABLE,
    "audio_too_long": Failure(ErrorKind.REJECTED, "sample_too_long", "The sample is too long."),
    "audio_too_short": Failure(ErrorKind.REJECTED, "sample_too_short", "The sample is too short."),
    "file_too_large": SAMPLE_TOO_LARGE,
    "invalid_parameters": REJECTED,
    "unprocessable": REJECTED,  # ours, for the list-shaped 422
    "invalid_api_key": MISCONFIGURED,
    "missing_api_key": MISCONFIGURED,
    "insufficient_credits": QUOTA_EXCEEDED,
    "quota_exceeded": QUOTA_EXCEEDED,  # as 401
    "feature_not_available": PLAN_INSUFFICIENT,
    "subscription_required": PLAN_INSUFFICIENT,
    "paid_plan_required": PLAN_INSUFFICIENT,  # as 400
    "can_not_use_instant_voice_cloning": PLAN_INSUFFICIENT,  # as 400
    "voice_access_denied": _NO_ACCESS,
    "voice_not_found": VOICE_NOT_FOUND,
    "model_not_found": MISCONFIGURED,
    "voice_already_exists": UNKNOWN,  # labels are unique, so it is ours, from a create whose answer was lost
    "already_running": THROTTLED,
    "voice_limit_reached": FULL,  # as 400
    "rate_limit_exceeded": THROTTLED,
    "concurrent_limit_exceeded": THROTTLED,
    "too_many_concurrent_requests": THROTTLED,
    "system_busy": THROTTLED,
    "internal_error": UNAVAILABLE,
    "service_unavailable": UNAVAILABLE,
    "maintenance": UNAVAILABLE,
}


def known(code: object) -> Failure | None:
    return ERRORS.get(code) if isinstance(code, str) else None
