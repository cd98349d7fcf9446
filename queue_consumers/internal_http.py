"""One step of an attempt or an enrollment, done by the service: its answer is the outcome.

The provider keys live in the service alone. It archives the message in the transaction of the step's effect,
and says so.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Literal

import msgspec
from msgspec import Struct

from backend.web.http_client import FAILURES, HttpClient
from queue_consumers.outcomes import Cancel, Done, Outcome, Retry, Snooze
from queue_consumers.queue import Context, Message
from queue_consumers.settings import ServiceSettings

SNOOZE_SECONDS = 30.0  # where the service does not say how long


class Answer(Struct, rename="camel"):
    outcome: Literal["done", "retry", "cancel", "snooze"]
    retry_after: float | None = None
    reason: str | None = None
    archived: bool = False


class Problem(Struct):
    code: str = ""


def open_client(service: ServiceSettings | None, connections: int) -> HttpClient:
    """Bound to the service. Reading has no timeout of its own: the runtime's deadline ends a step."""
    return HttpClient(
        service.url if service else "",
        headers={"authorization": f"Bearer {service.internal_token}"} if service else {},
        connections=connections,
        read_seconds=None,
    )


async def post_step(
    context: Context, message: Message, step: Literal["process", "verify", "runtime-sync", "preview"]
) -> Outcome:
    return await post_internal(context, f"/internal/voice-clone-attempts/{message.id}/{step}")


async def post_internal(context: Context, path: str) -> Outcome:
    try:
        async with context.http.request(
            "POST",
            path,
            json={"queue": context.queue, "msgId": context.msg_id},
        ) as response:
            body = await response.read()
    except FAILURES as error:
        return Retry(reason=f"service_unreachable: {type(error).__name__}")
    try:
        return read_outcome(response.status, response.headers, body)
    except msgspec.MsgspecError as error:
        return Retry(reason=f"bad_answer: {error}")


def read_outcome(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    if status == HTTPStatus.OK:
        return follow(msgspec.json.decode(body, type=Answer))
    if status == HTTPStatus.NOT_FOUND:
        return Cancel("not_found")
    code = problem_code(body)
    if status == HTTPStatus.CONFLICT and code == "illegal_transition":
        return Cancel(code)  # the attempt moved on without this step
    return Retry(after=retry_after(headers), reason=code or f"http_{status}")


def follow(answer: Answer) -> Outcome:
    if answer.archived:
        return Done(archived=True)
    match answer.outcome:
        case "done":
            return Done()
        case "cancel":
            return Cancel(answer.reason or "cancelled")
        case "snooze":
            seconds = SNOOZE_SECONDS if answer.retry_after is None else answer.retry_after
            return Snooze(datetime.now(UTC) + timedelta(seconds=seconds))
        case "retry":
            return Retry(after=answer.retry_after, reason=answer.reason or "retry")


def problem_code(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=Problem).code
    except msgspec.MsgspecError:
        return ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The header's seconds. Ours are never dates."""
    text = headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
