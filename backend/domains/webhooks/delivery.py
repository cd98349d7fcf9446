"""The step of a webhook: its due events are sent, one of each attempt, and what came of them is recorded.

The lease is longer than the step can take, so it is not renewed. The body of a response is not read.
A worker that dies leaves a lease that ends; what it sent may then be sent again, with the same `webhook-id`.
"""

import asyncio
import time
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.domains.webhooks.signing import signed_headers
from backend.errors import StaleLease
from backend.lifecycle.leases import WORKER_ID, Claim, persist, unclaimed
from backend.queues.outcomes import Done, Outcome
from backend.web.addresses import AddressRefused
from backend.web.http_client import FAILURES
from backend.web.logs import log
from backend.web.retry_after import retry_after
from backend.web.timestamps import encode_json

queries = load_queries(__file__)
EVENT_TYPE = "voice_clone_attempt.changed"
USER_CAP = 2  # webhooks of one owner that are delivered to at once, over all processes
MOST_AT_ONCE = 4  # events that are sent to one webhook at once
LATER = frozenset({"user_busy"})
SUCCESSES = range(200, 300)
GONE = 410
CANNOT_TAKE_ANY = frozenset({408, 425, 429, *range(500, 600)})

Result = Literal["delivered", "refused", "failed", "gone"]


class Delivery(Struct, frozen=True, kw_only=True):
    event_id: int
    attempt_id: UUID
    reflection_id: UUID | None
    employee_id: UUID | None
    voice_id: UUID
    version: int
    events: list[str]
    recorded_at: datetime


class WebhookWork(Struct, frozen=True, kw_only=True):
    webhook_id: UUID
    url: str
    secrets: list[str]
    deliveries: list[Delivery]


class Sent(Struct, frozen=True, kw_only=True):
    """What came of one request; see voice_clone.record_deliveries."""

    event_id: int
    outcome: Result
    response_status: int | None = None
    code: str | None = None
    retry_after: float | None = None


class Body(Struct, frozen=True, kw_only=True):
    """Ids and the names of what happened, no state and nothing personal: the receiver reads the attempt."""

    type: str
    timestamp: datetime
    data: Delivery


async def deliver_events(
    context: AppContext, webhook_id: UUID, /, *, message_id: int | None = None
) -> Outcome:
    parameters = {"webhook": webhook_id, "worker": WORKER_ID, "user_cap": USER_CAP, "most": MOST_AT_ONCE}
    claim = await context.database.fetch_one(queries.claim, parameters, row=Claim[WebhookWork])
    if claim is None or claim.work is None or claim.lease_epoch is None:
        return unclaimed(claim, LATER)
    work = claim.work
    sent = await asyncio.gather(*(send(context, work, delivery) for delivery in work.deliveries))
    values = {
        "webhook": webhook_id,
        "epoch": claim.lease_epoch,
        "results": Jsonb(msgspec.to_builtins(sent)),
        "retry_after": max((each.retry_after or 0.0 for each in sent), default=0.0),
        "message": message_id,
    }
    try:
        said = await persist(lambda: context.database.fetch_value(queries.record, values, of=str))
    except StaleLease:
        return Done("stale_lease")
    if said == "disabled":
        log.warning("webhook_disabled", webhook_id=str(webhook_id), codes=sorted(codes(sent)))
    return Done(said, acknowledged=message_id is not None)


async def send(context: AppContext, work: WebhookWork, delivery: Delivery) -> Sent:
    body = encode_json(Body(type=EVENT_TYPE, timestamp=delivery.recorded_at, data=delivery))
    headers = {
        "content-type": "application/json",
        "user-agent": "likeness",
        **signed_headers(work.secrets, f"evt_{delivery.event_id}", int(time.time()), body),
    }
    about = {"webhook_id": str(work.webhook_id), "event_id": delivery.event_id}
    try:
        async with context.webhooks.request("POST", work.url, headers=headers, content=body) as response:
            answer = answered(delivery, response.status, retry_after(response.headers))
    except AddressRefused as error:
        answer = Sent(event_id=delivery.event_id, outcome="failed", code=error.code)
    except TimeoutError:
        answer = Sent(event_id=delivery.event_id, outcome="failed", code="webhook_timed_out")
    except FAILURES:
        answer = Sent(event_id=delivery.event_id, outcome="failed", code="webhook_unreachable")
    if answer.outcome != "delivered":
        log.info("webhook_not_delivered", **about, code=answer.code, status=answer.response_status)
    return answer


def answered(delivery: Delivery, status: int, seconds: float | None) -> Sent:
    if status in SUCCESSES:
        return Sent(event_id=delivery.event_id, outcome="delivered", response_status=status)
    outcome: Result = "refused"
    if status == GONE:
        outcome = "gone"
    elif status in CANNOT_TAKE_ANY:
        outcome = "failed"
    return Sent(
        event_id=delivery.event_id,
        outcome=outcome,
        response_status=status,
        code="webhook_refused",
        retry_after=seconds,
    )


def codes(sent: list[Sent]) -> set[str]:
    return {each.code for each in sent if each.code}
