"""Leases: claiming a step of an attempt, keeping the claim alive, and what the step answers its consumer."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.backoff import full_jitter
from backend.database.queries import load_queries
from backend.errors import AppError, StaleLease
from backend.lifecycle.attempts import Work
from backend.providers.base import ProviderError
from backend.web.logs import log

queries = load_queries(__file__)
OWNER = f"{socket.gethostname()}:{os.getpid()}"
UNCLAIMED_WAIT = {"busy", "user_busy"}  # not_due: its message comes when it is due
RETRY_BASE_SECONDS = 2.0
RETRY_CAP_SECONDS = 60.0


class StepAnswer(Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of one step. `archived` when its message went in the transaction of the effect."""

    outcome: Literal["done", "retry", "cancel", "snooze"]
    retry_after: float | None = None  # seconds
    reason: str | None = None
    archived: bool = False


class Claim(Struct, frozen=True, kw_only=True):
    outcome: str
    retry_after_seconds: int | None
    lease_epoch: int | None
    work: Work | None


class Step(Struct, frozen=True, kw_only=True):
    """A claimed step: every write it makes carries its epoch."""

    context: AppContext
    work: Work
    epoch: int
    message_id: int | None

    def write(self, **values: Any) -> dict[str, Any]:
        """The parameters that each of a worker's writes begins with."""
        return {"attempt": self.work.attempt_id, "epoch": self.epoch, "message": self.message_id, **values}


@asynccontextmanager
async def claimed(
    context: AppContext, statement: str, attempt_id: UUID, message_id: int | None, **values: Any
) -> AsyncIterator[Step | StepAnswer]:
    """The claimed step under a lease that is renewed until the block ends, or why there is none."""
    lease = context.settings.attempts.lease_seconds
    parameters: Mapping[str, Any] = {"attempt": attempt_id, "owner": OWNER, "lease": lease, **values}
    claim = await context.database.fetch_one(statement, parameters, row=Claim)
    if claim is None or claim.lease_epoch is None or claim.work is None:
        yield unclaimed(claim)
        return
    step = Step(
        context=context,
        work=claim.work,
        epoch=claim.lease_epoch,
        message_id=message_id,
    )
    renewal = asyncio.create_task(renew(step, lease))
    try:
        yield step
    finally:
        renewal.cancel()


def unclaimed(claim: Claim | None) -> StepAnswer:
    """Somebody has it, it is not due, or there is nothing left to do."""
    if claim is not None and claim.outcome in UNCLAIMED_WAIT:
        return StepAnswer(outcome="snooze", retry_after=claim.retry_after_seconds, reason=claim.outcome)
    return StepAnswer(outcome="done", reason=claim.outcome if claim else "gone")


async def mark(step: Step, statement: str, **values: object) -> StepAnswer:
    try:
        await step.context.database.execute(statement, step.write(**values))
    except StaleLease:
        return StepAnswer(outcome="done", reason="stale_lease")
    return StepAnswer(
        outcome="done", archived=step.message_id is not None, reason=str(values["code"] or values["status"])
    )


async def renew(step: Step, lease: int) -> None:
    """A third of the lease apart. Once it has passed on the work goes on, and its last write is refused."""
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
    """Seconds until the next try: the provider's own word, or exponential with full jitter."""
    if error is not None and error.retry_after is not None:
        return error.retry_after
    return full_jitter(tries, RETRY_BASE_SECONDS, RETRY_CAP_SECONDS)
