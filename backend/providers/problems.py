"""A provider's failure as an HTTP answer."""

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


def as_app_error(error: ProviderError) -> AppError:
    """A provider's failure as the client sees it: our words, our code as `reason`, their request id."""
    kind = BY_CODE.get(error.code) or BY_KIND.get(error.kind, ProviderUnavailable)
    extra = {"provider": error.provider, "providerRequestId": error.request_id, "reason": error.code}
    problem = kind(error.message, extra=extra, retry_after=error.retry_after, internal=str(error))
    if kind is InvalidInput:
        problem.code = error.code
    return problem


def answer_provider_error(request: Request[Any, Any, Any], error: ProviderError) -> Response[bytes]:
    return answer_problem(request, as_app_error(error))
