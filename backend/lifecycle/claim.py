"""Leases: claiming a step of an attempt, renewing the lease, and the outcome of a step."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.backoff import full_jitter
from backend.database.queries import load_queries
from backend.errors import AppError, StaleLease
from backend.lifecycle.attempts import Work
from backend.providers.base import ProviderError
from backend.queues.outcomes import SNOOZE_SECONDS, Done, Outcome, Snooze
from backend.web.logs import log
from backend.web.retry_after import MAX_RETRY_AFTER

queries = load_queries(__file__)
WORKER_ID = f"{socket.gethostname()}:{os.getpid()}"
# The step is tried later. For not_due and user_busy there is nothing to do: another message is sent when
# the step is due, or when another step of the same user ends.
CLAIMED_LATER = {"busy"}
RETRY_BASE_SECONDS = 2.0
RETRY_CAP_SECONDS = 60.0


class StepClaim(Struct, frozen=True, kw_only=True):
    outcome: str
    retry_after_seconds: int | None
    lease_epoch: int | None
    work: Work | None


class Step(Struct, frozen=True, kw_only=True):
    """A claimed step: each of its writes carries the lease's epoch."""

    context: AppContext
    work: Work
    epoch: int
    message_id: int | None

    def write(self, **values: Any) -> dict[str, Any]:
        """The parameters of a write: the common ones and these."""
        return {"attempt": self.work.attempt_id, "epoch": self.epoch, "message": self.message_id, **values}


@asynccontextmanager
async def claimed(
    context: AppContext, statement: str, attempt_id: UUID, message_id: int | None, **values: Any
) -> AsyncIterator[Step | Outcome]:
    """The claimed step, its lease renewed until the block ends; or the outcome without a claim."""
    lease = context.settings.attempts.lease_seconds
    parameters: Mapping[str, Any] = {"attempt": attempt_id, "worker": WORKER_ID, "lease": lease, **values}
    claim = await context.database.fetch_one(statement, parameters, row=StepClaim)
    if claim is None or claim.lease_epoch is None or claim.work is None:
        yield unclaimed(claim)
        return
    step = Step(context=context, work=claim.work, epoch=claim.lease_epoch, message_id=message_id)
    renewal = asyncio.create_task(renew(step, lease))
    try:
        yield step
    finally:
        renewal.cancel()


def unclaimed(claim: StepClaim | None) -> Outcome:
    """Another worker has the step, it is not due, or there is nothing left to do."""
    if claim is None:
        return Done("gone")
    if claim.outcome in CLAIMED_LATER:
        seconds = SNOOZE_SECONDS if claim.retry_after_seconds is None else claim.retry_after_seconds
        return Snooze(seconds, claim.outcome)
    return Done(claim.outcome)


async def mark(step: Step, statement: str, **values: object) -> Outcome:
    try:
        await step.context.database.execute(statement, step.write(**values))
    except StaleLease:
        return Done("stale_lease")
    return Done(str(values["code"] or values["status"]), acknowledged=step.message_id is not None)


async def renew(step: Step, lease: int) -> None:
    """Every third of the lease. Once the lease is lost, the step's final write raises StaleLease."""
    held = True
    while held:
        await asyncio.sleep(lease / 3)
        try:
            held = bool(
                await step.context.database.fetch_value(queries.renew, step.write(lease=lease), of=bool)
            )
        except AppError as error:  # the database may be back before the lease ends
            log.warning("lease_not_renewed", attempt_id=str(step.work.attempt_id), code=error.code)


def retry_delay(tries: int, error: ProviderError | None = None) -> float:
    """Seconds until the next try: as the provider says, else exponential with full jitter."""
    if error is not None and error.retry_after is not None:
        return min(error.retry_after, MAX_RETRY_AFTER)
    return full_jitter(tries, RETRY_BASE_SECONDS, RETRY_CAP_SECONDS)
