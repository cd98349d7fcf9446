"""The lifecycle's steps over HTTP: the service does a step, and its answer is the outcome.

Only the service has the provider keys. It acknowledges the message in the transaction of the step's effect,
and the outcome says so.
"""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from msgspec import Struct

from backend.lifecycle.queues import LifecycleMessage, LifecycleQueue
from backend.queues.outcomes import Cancel, Outcome, Retry
from backend.queues.queue import Delivery, Handle, Queue
from backend.web.http_client import FAILURES, HttpClient
from queue_consumers.settings import ServiceSettings

IDLE_SECONDS = 5.0  # shorter than REQUEST_TIMEOUT_SECONDS, after which the service closes a connection


class Problem(Struct):
    code: str = ""


def open_client(service: ServiceSettings | None, connections: int) -> HttpClient:
    """Bound to the service. Reading has no timeout of its own: the runtime's deadline ends a step."""
    return HttpClient(
        service.url if service else "",
        headers={"authorization": f"Bearer {service.internal_token}"} if service else {},
        connections=connections,
        idle_seconds=IDLE_SECONDS,
        read_seconds=None,
    )


def http_queue(queue: LifecycleQueue, http: HttpClient) -> Queue:
    return queue.runtime_queue(lambda queue: http_step(queue, http))


def http_step(queue: LifecycleQueue, http: HttpClient) -> Handle:
    async def handle(delivery: Delivery, message: LifecycleMessage) -> Outcome:
        request = {"queue": delivery.queue, "msg_id": delivery.msg_id}
        try:
            async with http.request("POST", queue.path(message), json=request) as response:
                body = await response.read()
        except FAILURES as error:
            return Retry(reason=f"service_unreachable: {type(error).__name__}")
        try:
            return read_outcome(response.status, response.headers, body)
        except msgspec.MsgspecError as error:
            return Retry(reason=f"bad_answer: {error}")

    return handle


def read_outcome(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    if status == HTTPStatus.OK:
        return msgspec.json.decode(body, type=Outcome)
    if status == HTTPStatus.NOT_FOUND:
        return Cancel("not_found")
    code = problem_code(body)
    if status == HTTPStatus.CONFLICT and code == "illegal_transition":
        return Cancel(code)  # the row moved on without this step
    return Retry(retry_after(headers), code or f"http_{status}")


def problem_code(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=Problem).code
    except msgspec.MsgspecError:
        return ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The header's seconds. The service never sends a date."""
    text = headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
