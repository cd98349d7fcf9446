"""Samples that are stored before there is an attempt: for their user, or for one call that clones them."""

from contextlib import suppress
from typing import BinaryIO
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.samples.preparation import sample_path, store
from backend.domains.samples.sample_leases import InspectionInProgress, SampleStep, claimed_sample
from backend.domains.samples.sample_step import FAULTS_OF_THE_SAMPLE, run
from backend.errors import AppError
from backend.providers.base import VoiceProvider
from backend.web.idempotency import has_key

queries = load_queries(__file__)
OPEN_SAMPLES = 10  # of one user, that are not inspected yet


class NewSample(Struct, frozen=True, kw_only=True):
    """`id`: the same id again is the same sample. `reflection_id`: None where the consent says it."""

    id: UUID
    user_id: UUID
    consent_id: UUID
    reflection_id: UUID | None
    is_kept: bool
    content_type: str
    bytes: int
    name: str | None
    language: str
    transcript: str | None


class AddedSample(Struct, frozen=True, kw_only=True):
    id: UUID
    status: str
    path: str


async def check_sample(context: AppContext, sample_id: UUID, user_id: UUID, consent_id: UUID) -> None:
    """Raises what add_sample would raise, before the file is read."""
    parameters = {
        "sample": sample_id,
        "user": user_id,
        "consent": consent_id,
        **limits(context, is_kept=True),
    }
    await context.database.execute(queries.check_sample, parameters)


async def add_sample(context: AppContext, new: NewSample) -> AddedSample:
    parameters = {
        "sample": new.id,
        "user": new.user_id,
        "consent": new.consent_id,
        "reflection": new.reflection_id,
        "kept": new.is_kept,
        "name": new.name,
        "language": new.language,
        "transcript": new.transcript,
        "path": sample_path(new.user_id, new.id, new.content_type),
        "content_type": new.content_type,
        "bytes": new.bytes,
        **limits(context, is_kept=new.is_kept),
    }
    return required(await context.database.fetch_one(queries.add, parameters, row=AddedSample))


def limits(context: AppContext, *, is_kept: bool) -> dict[str, int | None]:
    """A sample for one call counts among the open ones; the attempts have a daily limit of their own."""
    per_day = context.settings.attempts.samples_per_day or None
    return {"open": OPEN_SAMPLES, "per_day": per_day if is_kept else None}


async def add_inline(
    context: AppContext, new: NewSample, original: BinaryIO, provider: VoiceProvider
) -> None:
    """Store the file and run its step here, for this provider.

    Raises what the sample is refused for; then nothing is left of it.
    """
    sample = await add_sample(context, new)
    try:
        if sample.status == "awaiting_upload":
            await store(context, original, sample.path, new.content_type)
        async with claimed_sample(context, sample.id, inline=True) as step:
            if isinstance(step, SampleStep):
                await run(step, provider.limits)
            elif step.reason == "busy":  # an earlier request with this idempotency key
                raise InspectionInProgress
    except FAULTS_OF_THE_SAMPLE:
        await delete_sample(context, new.user_id, sample.id)
        raise
    except AppError:
        await leave(context, new)
        raise


async def add_kept(context: AppContext, new: NewSample, original: BinaryIO) -> None:
    """Store the file; a consumer inspects it. The same id again goes on with that sample."""
    sample = await add_sample(context, new)
    try:
        if sample.status == "awaiting_upload":
            await store(context, original, sample.path, new.content_type)
        await context.database.execute(queries.receive, {"sample": sample.id, "user": new.user_id})
    except AppError:
        await leave(context, new)
        raise


async def leave(context: AppContext, new: NewSample) -> None:
    """After a fault of ours: the sample is removed, unless a call with the same key may go on with it."""
    if not has_key():
        with suppress(AppError):
            await delete_sample(context, new.user_id, new.id)


async def delete_sample(context: AppContext, user_id: UUID, sample_id: UUID) -> bool:
    """With its files; False where the user has no such sample. Raises Conflict while it is in use."""
    parameters = {"sample": sample_id, "user": user_id}
    return bool(await context.database.fetch_value(queries.delete, parameters, of=bool))
