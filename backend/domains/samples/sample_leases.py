"""The lease of a sample: one inspection of it at a time, over all processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.domains.samples.voice_details import VoiceDetails
from backend.errors import Conflict
from backend.lifecycle.leases import WORKER_ID, Claim, persist, renewed, unclaimed
from backend.queues.outcomes import Outcome

queries = load_queries(__file__)
LEASE_SECONDS = 30  # as in voice_clone.timeouts
POLL_SECONDS = 0.25  # while another process inspects the same sample
RETRY_SECONDS = 2.0  # for the call that meets it
USER_CAP = 2  # samples of one user that are inspected at once from the queue, over all processes
CLAIMED_LATER = frozenset({"busy", "user_busy"})


class InspectionInProgress(Conflict):
    """This sample is being inspected."""

    code = "inspection_in_progress"
    help = "Send the same call again a little later."

    def __init__(self, message: str | None = None, **details: Any) -> None:
        super().__init__(message, **{"retry_after": RETRY_SECONDS, **details})


class SampleWork(Struct, frozen=True, kw_only=True):
    """What a worker needs to know of its sample."""

    sample_id: UUID
    owner_id: UUID  # the user, or the employee whose recording it is
    path: str
    bytes: int
    is_kept: bool
    waiting_seconds: float
    declared_bytes: int | None  # of an upload, until a file was refused for its content
    spoken_sample: str | None = (
        None  # the hash of the file that a spoken consent is for; None where any may be
    )


class SampleStep(Struct, frozen=True, kw_only=True):
    """A claimed sample: each write carries the lease's epoch."""

    context: AppContext
    work: SampleWork
    epoch: int
    message_id: int | None = None
    is_inline: bool = True

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
    claim = await context.database.fetch_one(queries.claim, parameters, row=Claim[SampleWork])
    if claim is None or claim.work is None or claim.lease_epoch is None:
        yield unclaimed(claim, CLAIMED_LATER)
        return
    step = SampleStep(
        context=context,
        work=claim.work,
        epoch=claim.lease_epoch,
        message_id=message_id,
        is_inline=inline,
    )
    async with renewed(step.renew, LEASE_SECONDS, sample_id=str(step.work.sample_id)):
        yield step


@asynccontextmanager
async def claimed_upload(
    context: AppContext, attempt_id: UUID, user_id: UUID, details: VoiceDetails
) -> AsyncIterator[SampleStep | None]:
    """Authorises the inspection first: the attempt is open, its consent is valid, it has a voice slot.

    The sample keeps the language and the transcript of `details`.

    None where an earlier call made the sample ready. Waits for another process that inspects the same upload,
    at most as long as finalize waits; then Conflict `inspection_in_progress`. Raises IllegalTransition where
    the attempt does not await its upload any more.
    """
    claim = await claim_upload(context, attempt_id, user_id, details)
    if claim.lease_epoch is None or claim.work is None:
        yield None
        return
    step = SampleStep(context=context, work=claim.work, epoch=claim.lease_epoch)
    async with renewed(step.renew, LEASE_SECONDS, sample_id=str(step.work.sample_id)):
        yield step


async def claim_upload(
    context: AppContext, attempt_id: UUID, user_id: UUID, details: VoiceDetails
) -> Claim[SampleWork]:
    clock = asyncio.get_running_loop().time
    until = clock() + context.settings.attempts.finalize_wait
    parameters = {
        "attempt": attempt_id,
        "user": user_id,
        "worker": WORKER_ID,
        "language": details.language,
        "transcript": details.transcript,
    }
    while True:
        try:
            claim = await context.database.fetch_one(queries.claim_upload, parameters, row=Claim[SampleWork])
            assert claim is not None  # noqa: S101 - it raises where there is no such attempt
            return claim
        except Conflict as error:
            if error.code != "inspection_in_progress" or clock() >= until:
                raise
        await asyncio.sleep(POLL_SECONDS)
