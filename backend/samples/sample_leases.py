"""The lease of a sample: one inspection of it at a time, over all processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.errors import AppError, Conflict
from backend.lifecycle.claim import WORKER_ID, persist
from backend.queues.outcomes import SNOOZE_SECONDS, Done, Outcome, Snooze
from backend.web.logs import log

queries = load_queries(__file__)
RENEW_SECONDS = 10.0  # of the 30 in voice_clone.timeouts
POLL_SECONDS = 0.25  # while another process inspects the same sample
USER_CAP = 2  # samples of one user that are inspected at once from the queue, over all processes
CLAIMED_LATER = {"busy", "user_busy"}


class SampleWork(Struct, frozen=True, kw_only=True):
    """What a worker needs to know of its sample."""

    sample_id: UUID
    user_id: UUID
    path: str
    bytes: int
    is_kept: bool
    waiting_seconds: float


class SampleClaim(Struct, frozen=True, kw_only=True):
    outcome: str
    retry_after_seconds: int | None
    lease_epoch: int | None
    work: SampleWork | None


class SampleStep(Struct, frozen=True, kw_only=True):
    """A claimed sample: each write carries the lease's epoch."""

    context: AppContext
    work: SampleWork
    epoch: int
    message_id: int | None = None

    def values(self, **values: Any) -> dict[str, Any]:
        return {"sample": self.work.sample_id, "epoch": self.epoch, "message": self.message_id, **values}

    async def write(self, statement: str, **values: Any) -> None:
        """Tried again while the database is away. Raises StaleLease once another worker has the sample."""
        await persist(lambda: self.context.database.execute(statement, self.values(**values)))

    async def renew(self) -> bool:
        """False where another worker has taken over."""
        return bool(await self.context.database.fetch_value(queries.renew, self.values(), of=bool))


@asynccontextmanager
async def claimed_sample(
    context: AppContext, sample_id: UUID, message_id: int | None = None, *, inline: bool = False
) -> AsyncIterator[SampleStep | Outcome]:
    """The step, its lease renewed until the block ends; or the outcome without a claim."""
    parameters = {"sample": sample_id, "worker": WORKER_ID, "user_cap": USER_CAP, "inline": inline}
    claim = await context.database.fetch_one(queries.claim, parameters, row=SampleClaim)
    if claim is None or claim.work is None or claim.lease_epoch is None:
        yield unclaimed(claim)
        return
    step = SampleStep(context=context, work=claim.work, epoch=claim.lease_epoch, message_id=message_id)
    async with renewed(step):
        yield step


def unclaimed(claim: SampleClaim | None) -> Outcome:
    if claim is not None and claim.outcome in CLAIMED_LATER:
        return Snooze(claim.retry_after_seconds or SNOOZE_SECONDS, claim.outcome)
    return Done("gone" if claim is None else claim.outcome)


@asynccontextmanager
async def claimed_upload(
    context: AppContext, attempt_id: UUID, user_id: UUID
) -> AsyncIterator[SampleStep | None]:
    """Authorises the inspection first: the attempt is open, its consent is valid, it has a voice slot.

    None where an earlier call made the sample ready. Waits for another process that inspects the same upload,
    at most as long as finalize waits; then Conflict `inspection_in_progress`. Raises IllegalTransition where
    the attempt does not await its upload any more.
    """
    claim = await claim_upload(context, attempt_id, user_id)
    if claim.lease_epoch is None or claim.work is None:
        yield None
        return
    step = SampleStep(context=context, work=claim.work, epoch=claim.lease_epoch)
    async with renewed(step):
        yield step


async def claim_upload(context: AppContext, attempt_id: UUID, user_id: UUID) -> SampleClaim:
    clock = asyncio.get_running_loop().time
    until = clock() + context.settings.attempts.finalize_wait
    parameters = {"attempt": attempt_id, "user": user_id, "worker": WORKER_ID}
    while True:
        try:
            claim = await context.database.fetch_one(queries.claim_upload, parameters, row=SampleClaim)
            assert claim is not None  # noqa: S101 - it raises where there is no such attempt
            return claim
        except Conflict as error:
            if error.code != "inspection_in_progress" or clock() >= until:
                raise
        await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def renewed(step: SampleStep) -> AsyncIterator[None]:
    renewing = asyncio.create_task(keep(step))
    try:
        yield
    finally:
        renewing.cancel()


async def keep(step: SampleStep) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            if not await step.renew():
                return
        except AppError as error:  # the next one may come in time
            log.warning("inspection_not_renewed", code=error.code, internal=error.internal)
