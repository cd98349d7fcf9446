"""The lifecycle's steps over HTTP: the service does a step, and its answer is the outcome.

Only the service has the provider keys. It acknowledges the message in the transaction of the step's effect,
and the outcome says so.
"""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from msgspec import Struct

from backend.app.queues import LifecycleMessage, LifecycleQueue
from backend.queues.outcomes import Cancel, Outcome, Retry
from backend.queues.queue import Delivery, Handle, Queue
from backend.telemetry.traces import current_traceparent
from backend.web.http_client import FAILURES, NEVER_SENT, HttpClient
from backend.web.retry_after import retry_after
from queue_consumers.settings import ServiceSettings

# The row does not exist, or moved on without this step.
MOVED_ON = {(404, "not_found"), (409, "illegal_transition")}
# The service does not work for now, or refuses this consumer's token; the message is not at fault.
OUTAGES = {401, 403, 429, 502, 503, 504}
NO_ROUTE = (404, "route_not_found")  # the service is older than this consumer
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
        traceparent = current_traceparent()
        headers = {"traceparent": traceparent} if traceparent else None
        try:
            async with http.request("POST", queue.path(message), json=request, headers=headers) as response:
                body = await response.read()
        except NEVER_SENT as error:
            return Retry(reason=unreachable(error), is_outage=True)
        except FAILURES as error:  # counted: the step may be what stopped the service
            return Retry(reason=unreachable(error))
        return read_outcome(response.status, response.headers, body)

    return handle


def unreachable(error: Exception) -> str:
    return f"service_unreachable: {type(error).__name__}"


def read_outcome(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Only the service's own response counts a try: an outcome, or a problem with a code."""
    if status == HTTPStatus.OK:
        try:
            return msgspec.json.decode(body, type=Outcome)
        except msgspec.MsgspecError as error:
            return Retry(reason=f"bad_answer: {error}", is_outage=True)
    code = problem_code(headers, body)
    if not code:  # of a proxy or another server
        return Retry(retry_after(headers), f"http_{status}", is_outage=True)
    if (status, code) in MOVED_ON:
        return Cancel(code)
    is_outage = status in OUTAGES or (status, code) == NO_ROUTE
    return Retry(retry_after(headers), code, is_outage=is_outage)


def problem_code(headers: Mapping[str, str], body: bytes) -> str:
    """Empty for what is no problem of the service's."""
    if headers.get("content-type", "").partition(";")[0].strip() != "application/problem+json":
        return ""
    try:
        return msgspec.json.decode(body, type=Problem).code
    except msgspec.MsgspecError:
        return ""
