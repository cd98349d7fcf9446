"""Cartesia's errors as our kinds.

It documents three codes, and `error_code` may be null, so most answers are told apart by their status and by
what was called: a call to the voices, or speech.
"""

from backend.providers.base import ErrorKind
from backend.providers.http import (
    MISCONFIGURED,
    PLAN_INSUFFICIENT,
    QUOTA_EXCEEDED,
    THROTTLED,
    VOICE_NOT_FOUND,
    Failure,
)

REFUSED_SAMPLE = Failure(
    ErrorKind.REJECTED, "sample_rejected", "The voice provider refused the sample, its name or its language."
)

ERRORS: dict[str, Failure] = {
    "concurrency_limited": THROTTLED,
    "model_not_found": MISCONFIGURED,
    "voice_not_found": VOICE_NOT_FOUND,
}
BY_STATUS: dict[int, Failure] = {402: QUOTA_EXCEEDED}
OF_CREATE: dict[int, Failure] = {
    **BY_STATUS,
    400: REFUSED_SAMPLE,
    403: PLAN_INSUFFICIENT,
    422: REFUSED_SAMPLE,
}
OF_SPEECH: dict[int, Failure] = {**BY_STATUS, 404: VOICE_NOT_FOUND}


def known(code: str | None, status: int, by_status: dict[int, Failure]) -> Failure | None:
    return ERRORS.get(code or "") or by_status.get(status)
