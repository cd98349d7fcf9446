"""A provider's failure as an HTTP response."""

from typing import Any

from litestar import Request, Response

from backend.errors import (
    AppError,
    InferenceFailed,
    InvalidInput,
    ProviderRejected,
    ProviderUnavailable,
    SampleTooLarge,
)
from backend.providers.base import ErrorKind, ProviderError
from backend.providers.http import INFERENCE_FAILED
from backend.web.logs import log
from backend.web.problems import answer_problem

BY_CODE: dict[str, type[AppError]] = {
    "sample_too_large": SampleTooLarge,
    "provider_rejected": ProviderRejected,
    "inference_failed": InferenceFailed,
}
BY_KIND: dict[ErrorKind, type[AppError]] = {
    ErrorKind.REJECTED: InvalidInput,
    ErrorKind.FULL: ProviderRejected,
    ErrorKind.MISCONFIGURED: ProviderRejected,
}
MOVE_IT = (
    "Speak with the voice that `moved_to` of GET /api/voices/{id} names, "
    "or move this one to a provider that is set up: POST /api/voices/{id}/move."
)
OUTAGES = {ErrorKind.THROTTLED, ErrorKind.UNAVAILABLE, ErrorKind.UNKNOWN}


def as_app_error(error: ProviderError) -> AppError:
    """A provider's failure as the client sees it: our words, our code as `reason`, their request id."""
    kind = BY_CODE.get(error.code) or BY_KIND.get(error.kind, ProviderUnavailable)
    problem = kind(error.message, extra=extra(error), retry_after=error.retry_after, internal=str(error))
    if kind is InvalidInput or error.kind is ErrorKind.MISPLACED:
        problem.code = error.code
    return problem


def as_speech_error(error: ProviderError) -> AppError:
    """A failed synthesis: the text is at fault, or `inference_failed` (503 while the provider is down)."""
    if error.kind is ErrorKind.REJECTED and error.code.startswith("text_"):
        return InvalidInput(error.message, code=error.code, field="text", extra=limit(error))
    if error.kind is ErrorKind.MISPLACED:
        problem = as_app_error(error)
        problem.help = MOVE_IT
        return problem
    is_outage = error.kind in OUTAGES and error.code != INFERENCE_FAILED.code
    return (ProviderUnavailable if is_outage else InferenceFailed)(
        error.message,
        code=InferenceFailed.code,
        extra=extra(error),
        retry_after=error.retry_after if is_outage else None,
        internal=str(error),
    )


def extra(error: ProviderError) -> dict[str, Any]:
    about = {"provider": error.provider, "provider_request_id": error.request_id, "reason": error.code}
    return {**about, **limit(error)}


def limit(error: ProviderError) -> dict[str, float]:
    """Where we know it. A provider that enforces one of its own does not say it in a form of its own."""
    return {} if error.limit is None else {"limit": error.limit}


def answer_provider_error(request: Request[Any, Any, Any], error: ProviderError) -> Response[bytes]:
    problem = as_app_error(error)
    if problem.status < 500:  # those are logged as failed requests
        log.warning("provider_failed", provider=error.provider, error=str(error))
    return answer_problem(request, problem)
