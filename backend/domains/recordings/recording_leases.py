"""The lease of a recording: one worker of an employee at a time, over all processes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.domains.recordings.callbacks import queries
from backend.lifecycle.leases import WORKER_ID, Claim, finish, renewed, unclaimed
from backend.queues.outcomes import Outcome

LEASE_SECONDS = 120  # as in voice_clone.timeouts; longer than an upload to Storage may last


class RecordingWork(Struct, frozen=True, kw_only=True):
    """What a worker needs to know of its recording."""

    recording_id: UUID
    employee_id: UUID
    account_sid: str
    recording_sid: str
    process_count: int
    waiting_seconds: float


class RecordingStep(Struct, frozen=True, kw_only=True):
    """A claimed recording: each write carries the lease's epoch."""

    context: AppContext
    work: RecordingWork
    epoch: int
    message_id: int | None

    def values(self, **values: Any) -> dict[str, Any]:
        work = self.work
        return {"recording": work.recording_id, "epoch": self.epoch, "message": self.message_id, **values}

    async def write(self, statement: str, result: str, **values: Any) -> Outcome:
        """The end of the step."""
        write = partial(self.context.database.execute, statement, self.values(**values))
        return await finish(write, result, self.message_id)

    async def renew(self) -> bool:
        """False where another worker has taken over."""
        return bool(await self.context.database.fetch_value(queries.renew, self.values(), of=bool))


@asynccontextmanager
async def claimed_recording(
    context: AppContext, recording_id: UUID, message_id: int | None
) -> AsyncIterator[RecordingStep | Outcome]:
    """The step, its lease renewed until the block ends; or the outcome without a claim."""
    parameters = {"recording": recording_id, "worker": WORKER_ID}
    claim = await context.database.fetch_one(queries.claim, parameters, row=Claim[RecordingWork])
    if claim is None or claim.work is None or claim.lease_epoch is None:
        yield unclaimed(claim)
        return
    step = RecordingStep(context=context, work=claim.work, epoch=claim.lease_epoch, message_id=message_id)
    async with renewed(step.renew, LEASE_SECONDS, recording_id=str(recording_id)):
        yield step
