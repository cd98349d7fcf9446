"""What the remote providers share: one bounded HTTP call, and failures told apart by table.

The question that matters is whether a call may have had an effect. A connection that never stood cannot
have had one; an answer that was not heard may hide one, and on a create that is `unknown`.
"""

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from aiohttp import ClientResponse
from msgspec import Struct

from backend.providers.base import ErrorKind, ProviderError, Sample
from backend.providers.messages import for_operators, of_page
from backend.telemetry.measures import PROVIDER_CALLS, PROVIDER_SECONDS
from backend.telemetry.traces import span
from backend.web.http_client import FAILURES, NEVER_SENT, HttpClient
from backend.web.logs import SECRET_TEXT
from backend.web.retry_after import retry_after

T = TypeVar("T")
MAX_ANSWER_BYTES = 64 * 1024 * 1024
REQUEST_IDS = ("request-id", "x-request-id")  # headers with the provider's id of a call
_OPAQUE = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class Failure(Struct, frozen=True):
    """A row of an error table: what it means for the attempt, our code, and words for the user."""

    kind: ErrorKind
    code: str
    message: str


THROTTLED = Failure(ErrorKind.THROTTLED, "provider_throttled", "The voice provider is busy. Try again later.")
UNAVAILABLE = Failure(
    ErrorKind.UNAVAILABLE, "provider_unavailable", "The voice provider cannot be reached right now."
)
UNKNOWN = Failure(
    ErrorKind.UNKNOWN,
    "outcome_unknown",
    "The voice provider's answer was lost; it is being looked up.",
)
MISCONFIGURED = Failure(
    ErrorKind.MISCONFIGURED, "provider_misconfigured", "The voice provider refuses this service's account."
)
REJECTED = Failure(ErrorKind.REJECTED, "provider_rejected", "The voice provider refused the request.")
FULL = Failure(ErrorKind.FULL, "provider_full", "No voice slot is left at the voice provider.")
VOICE_NOT_FOUND = Failure(
    ErrorKind.REJECTED, "voice_not_found", "The voice provider does not know this voice."
)
MODEL_MISMATCH = Failure(
    ErrorKind.REJECTED,
    "model_mismatch",
    "The voice was made for another model than it was asked to speak with.",
)
TEXT_TOO_LONG = Failure(ErrorKind.REJECTED, "text_too_long", "The text is too long for one utterance.")
TEXT_EMPTY = Failure(ErrorKind.REJECTED, "text_empty", "There is no text to speak.")
SAMPLE_TOO_LARGE = Failure(
    ErrorKind.REJECTED, "sample_too_large", "The sample is larger than the voice provider accepts."
)
INFERENCE_FAILED = Failure(
    ErrorKind.UNAVAILABLE, "inference_failed", "The voice provider answered with no usable audio."
)
QUOTA_EXCEEDED = Failure(
    ErrorKind.MISCONFIGURED,
    "provider_quota_exceeded",
    "This service's account at the voice provider is used up.",
)
PLAN_INSUFFICIENT = Failure(
    ErrorKind.MISCONFIGURED,
    "provider_plan_insufficient",
    "This service's plan at the voice provider does not include cloning.",
)
LABEL_INVALID = Failure(ErrorKind.REJECTED, "label_invalid", "A label is 1 to 16 of a-z, 0-9 and _.")
SAMPLE_UNAVAILABLE = Failure(
    ErrorKind.UNAVAILABLE, "sample_unavailable", "The sample could not be read from storage."
)
SAMPLE_MISSING = Failure(
    ErrorKind.REJECTED, "sample_missing", "The sample is not in storage any more. Record a new one."
)

BY_STATUS = {
    401: MISCONFIGURED,
    402: MISCONFIGURED,
    403: MISCONFIGURED,
    404: MISCONFIGURED,
    405: MISCONFIGURED,
    408: UNAVAILABLE,
    413: SAMPLE_TOO_LARGE,
    425: THROTTLED,
    429: THROTTLED,
}


class Call(Struct, frozen=True, kw_only=True):
    """How one call is made: its provider, its hard deadline, and whether it can leave something behind.

    `sent` is what no message may repeat: the key, and the words of a person.
    """

    provider: str
    seconds: float
    commits: bool = False
    sent: tuple[str | None, ...] = ()

    def error(
        self,
        failure: Failure,
        *,
        status: int | None = None,
        provider_code: object = None,
        request_id: object = None,
        provider_message: object = None,
        retry_after: float | None = None,
        limit: float | None = None,
    ) -> ProviderError:
        return ProviderError(
            failure.kind,
            failure.code,
            failure.message,
            provider=self.provider,
            status=status,
            provider_code=opaque(provider_code, self.sent),
            request_id=opaque(request_id, self.sent),
            provider_message=for_operators(provider_message, self.sent),
            retry_after=retry_after,
            limit=limit,
        )

    @property
    def unheard(self) -> Failure:
        """What it means that this call was sent and no usable answer came back."""
        return UNKNOWN if self.commits else UNAVAILABLE


class ProviderResponse(Struct, frozen=True):
    status: int
    headers: Mapping[str, str]  # names in any case
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


def opaque(value: object, sent: Iterable[str | None] = ()) -> str | None:
    """A provider's code or request id if it looks like one; anything else might quote a key or a URL."""
    if not isinstance(value, str) or not _OPAQUE.fullmatch(value) or SECRET_TEXT.search(value):
        return None
    return None if value in sent else value


async def send(client: HttpClient, call: Call, method: str, url: str, **parts: Any) -> ProviderResponse:
    """One call, once, as a span of the trace. See `send_once`."""
    operation = "create" if call.commits else "call"
    with span(f"{call.provider} {operation}", "CLIENT", provider=call.provider) as current:
        try:
            answer = await send_once(client, call, method, url, **parts)
        except ProviderError as error:
            current.set(outcome=error.kind.value, request_id=error.request_id)
            raise
        current.set(
            outcome=f"{answer.status // 100}xx", status=answer.status, request_id=header_id(answer.headers)
        )
        return answer


def header_id(headers: Mapping[str, str]) -> str | None:
    return next((found for name in REQUEST_IDS if (found := opaque(headers.get(name)))), None)


async def send_once(client: HttpClient, call: Call, method: str, url: str, **parts: Any) -> ProviderResponse:
    """Send once. Errors are raised without context: the driver's hold the URL, which may be signed."""
    started, outcome = time.perf_counter(), "unavailable"
    try:
        async with (
            asyncio.timeout(call.seconds),
            client.request(method, url, read_seconds=call.seconds, **parts) as response,
        ):
            answer = ProviderResponse(response.status, response.headers, await _body(response))
            outcome = f"{answer.status // 100}xx"
            return answer
    except ProviderError as error:  # of the sample's stream
        failed = error
    except NEVER_SENT:
        failed = call.error(UNAVAILABLE)
    except (*FAILURES, _TooLargeError) as error:
        failed = error.__cause__ if isinstance(error.__cause__, ProviderError) else call.error(call.unheard)
        outcome = "unknown" if call.commits else outcome
    finally:
        labels = call.provider, "create" if call.commits else "other"
        PROVIDER_CALLS.labels(*labels, outcome).inc()
        PROVIDER_SECONDS.labels(*labels).observe(time.perf_counter() - started)
    raise failed


class _TooLargeError(Exception):
    """The answer is longer than any honest one."""


async def _body(response: ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise _TooLargeError
    return bytes(body)


def refusal(
    call: Call,
    answer: ProviderResponse,
    known: Failure | None,
    *,
    provider_code: object = None,
    request_id: object = None,
    message: object = None,
) -> ProviderError:
    """An answer that is not 2xx as an error: by the provider's table where it knows the code, else by status.

    On a create a 5xx or 408 is unknown whatever the body says: a gateway may have given up on a commit.
    """
    if call.commits and (answer.status >= 500 or answer.status == 408):
        failure = UNKNOWN
    else:
        failure = known or by_status(answer.status)
    return call.error(
        failure,
        status=answer.status,
        provider_code=provider_code,
        request_id=request_id,
        provider_message=message or of_page(answer.body),
        retry_after=retry_after(answer.headers),
    )


def by_status(status: int) -> Failure:
    if status >= 500:
        return UNAVAILABLE
    return BY_STATUS.get(status, REJECTED if status >= 400 else MISCONFIGURED)


def parse(call: Call, answer: ProviderResponse, shape: type[T]) -> T:
    """The answer's JSON as `shape`; one that does not fit counts as not heard."""
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    raise call.error(call.unheard, status=answer.status)


async def signed_url(call: Call, sample: Sample, seconds: int) -> str:
    try:
        return await sample.signed_url(seconds)
    except Exception as error:  # whatever storage raises, nothing was sent to the provider
        failure, reason = unreadable(error), type(error).__name__
    raise call.error(failure, provider_code=reason)


def unreadable(error: Exception) -> Failure:
    """What it means that the sample cannot be read: it is gone, or storage is away."""
    return SAMPLE_MISSING if getattr(error, "storage_status", None) == 404 else SAMPLE_UNAVAILABLE


async def read_sample(call: Call, sample: Sample) -> AsyncIterator[bytes]:
    """The sample's bytes, exactly `size` of them: a short body must not look like a provider's failure."""
    sent, reason, failure = 0, None, SAMPLE_UNAVAILABLE
    try:
        async for chunk in sample.stream():
            sent += len(chunk)
            yield chunk
    except Exception as error:
        failure, reason = unreadable(error), type(error).__name__
    if reason or sent != sample.size:
        raise call.error(failure, provider_code=reason or "SizeMismatch")


def multipart(
    fields: Mapping[str, str], *, file: tuple[str, str, str, int], content: AsyncIterator[bytes]
) -> tuple[dict[str, str], AsyncIterator[bytes]]:
    """Headers and a streamed body with one file, `(field, name, content type, bytes)`, of known length."""
    boundary = secrets.token_hex(16)
    field, name, content_type, size = file
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    )
    head += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        f"Content-Type: {content_type}\r\n\r\n"
    )
    start, end = head.encode(), f"\r\n--{boundary}--\r\n".encode()

    async def body() -> AsyncIterator[bytes]:
        yield start
        async for chunk in content:
            yield chunk
        yield end

    headers = {
        "content-type": f"multipart/form-data; boundary={boundary}",
        "content-length": str(len(start) + size + len(end)),
    }
    return headers, body()
