"""A step of an attempt: claimed, and what its failure means."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.backoff import full_jitter, outage_delay
from backend.database.queries import load_queries
from backend.errors import AppError
from backend.lifecycle.attempts import Work
from backend.lifecycle.leases import WORKER_ID, Claim, finish, renewed, unclaimed
from backend.providers.base import ErrorKind, ProviderError, VoiceProvider
from backend.providers.places import find_provider
from backend.queues.outcomes import Outcome
from backend.web.logs import log
from backend.web.retry_after import MAX_RETRY_AFTER

queries = load_queries(__file__)
RETRY_BASE_SECONDS = 2.0
RETRY_CAP_SECONDS = 60.0
FOR_OPERATORS = {ErrorKind.MISCONFIGURED, ErrorKind.MISPLACED}  # nothing changes until they act


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
    claim = await context.database.fetch_one(statement, parameters, row=Claim[Work])
    if claim is None or claim.lease_epoch is None or claim.work is None:
        yield unclaimed(claim)
        return
    step = Step(context=context, work=claim.work, epoch=claim.lease_epoch, message_id=message_id)
    async with renewed(partial(renew, step, lease), lease, attempt_id=str(attempt_id)):
        yield step


async def renew(step: Step, lease: int) -> bool | None:
    return await step.context.database.fetch_value(queries.renew, step.write(lease=lease), of=bool)


async def mark(step: Step, statement: str, **values: object) -> Outcome:
    """The end of a runtime sync or a preview."""
    result = str(values["code"] or values["status"])
    write = partial(step.context.database.execute, statement, step.write(**values))
    return await finish(write, result, step.message_id)


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
