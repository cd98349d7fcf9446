"""Leases: claiming a step of an attempt, renewing the lease, and the outcome of a step."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.backoff import full_jitter, outage_delay
from backend.database.queries import load_queries
from backend.errors import AppError, DatabaseUnavailable, StaleLease
from backend.lifecycle.attempts import Work
from backend.providers.base import ErrorKind, ProviderError, VoiceProvider
from backend.providers.places import find_provider
from backend.queues.outcomes import SNOOZE_SECONDS, Done, Outcome, Snooze
from backend.web.logs import log
from backend.web.retry_after import MAX_RETRY_AFTER

T = TypeVar("T")
queries = load_queries(__file__)
WORKER_ID = f"{socket.gethostname()}:{os.getpid()}"
# The step is tried later. For not_due, user_busy and all_busy there is nothing to do: another message is sent
# when the step is due, or has a slot.
CLAIMED_LATER = {"busy"}
RETRY_BASE_SECONDS = 2.0
RETRY_CAP_SECONDS = 60.0
FOR_OPERATORS = {ErrorKind.MISCONFIGURED, ErrorKind.MISPLACED}  # nothing changes until they act
PERSIST_TRIES = 6
PERSIST_BASE_SECONDS, PERSIST_CAP_SECONDS = 0.5, 8.0


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

    def provider(self) -> VoiceProvider:
        """Where the attempt's voice is, or will be made. Raises ProviderError if that is not set up here."""
        work = self.work
        return find_provider(self.context.providers, work.provider, work.region, work.account)

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
    """The end of a runtime sync or a preview."""
    try:
        await persist(lambda: step.context.database.execute(statement, step.write(**values)))
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


def retry_delay(tries: int) -> float:
    """Seconds until the next try of a step that failed by itself: exponential with full jitter."""
    return full_jitter(tries, RETRY_BASE_SECONDS, RETRY_CAP_SECONDS)


def waiting_delay(step: Step, error: AppError | ProviderError) -> float:
    """Seconds until the next try of a step that met an outage: as the other side says, or longer."""
    told = error.retry_after if isinstance(error, ProviderError) else None
    return outage_delay(step.work.waiting_seconds, None if told is None else min(told, MAX_RETRY_AFTER))


def is_outage(step: Step, error: ProviderError) -> bool:
    """Whether the failure is not the attempt's fault: another try may succeed, and none is counted."""
    level = logging.ERROR if error.kind in FOR_OPERATORS else logging.WARNING
    log.log(level, "provider_failed", attempt_id=str(step.work.attempt_id), error=str(error))
    return error.kind is not ErrorKind.REJECTED


async def persist(write: Callable[[], Awaitable[T]]) -> T:
    """The write, tried again for about ten seconds while the database is away."""
    for tries in range(1, PERSIST_TRIES):
        try:
            return await write()
        except DatabaseUnavailable:
            await asyncio.sleep(full_jitter(tries, PERSIST_BASE_SECONDS, PERSIST_CAP_SECONDS))
    return await write()
