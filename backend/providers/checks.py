"""What each adapter checks: the label, the sample's size and the text before a call, the audio after it."""

from collections.abc import Awaitable, Callable

from backend.providers.base import LABEL, EnrollRequest, Limits
from backend.providers.http import (
    INFERENCE_FAILED,
    LABEL_INVALID,
    SAMPLE_TOO_LARGE,
    TEXT_EMPTY,
    TEXT_TOO_LONG,
    Call,
    ProviderResponse,
)


def require_enrollable(call: Call, request: EnrollRequest, limits: Limits) -> None:
    if not LABEL.fullmatch(request.label):
        raise call.error(LABEL_INVALID)
    if request.sample.size > limits.max_bytes:
        raise call.error(SAMPLE_TOO_LARGE, limit=limits.max_bytes)


def require_text(call: Call, text: str, most: int, count: Callable[[str], int] = len) -> None:
    """`most` characters, counted as the provider counts them."""
    if not text.strip():
        raise call.error(TEXT_EMPTY)
    if count(text) > most:
        raise call.error(TEXT_TOO_LONG, limit=most)


async def spoken(
    call: Call, answer: ProviderResponse, as_wav: Callable[[bytes], Awaitable[bytes]], request_id: str | None
) -> bytes:
    """The answer's audio as a WAV. `as_wav` raises ValueError where it is none."""
    try:
        return await as_wav(answer.body)
    except ValueError:
        pass
    raise call.error(INFERENCE_FAILED, status=answer.status, request_id=request_id)


def primary(language: str) -> str:
    """`en` of `en-GB`."""
    return language.partition("-")[0].lower()
