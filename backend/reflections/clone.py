"""Cloning for a reflection: a file in the request, or a sample that was inspected before."""

from typing import BinaryIO
from uuid import UUID

from msgspec import structs

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.errors import Conflict, IllegalTransition
from backend.lifecycle.attempts import AttemptRow, read_attempt
from backend.lifecycle.slots import name_alternatives
from backend.samples.inspected import read_inspected
from backend.samples.preparation import (
    plain_content_type,
    prepare,
    read_whole,
    require_fit,
    require_size,
    sample_path,
    temporary_file,
)
from backend.samples.uploads import NewAttempt, check_opening, open_attempt, queue
from backend.samples.voice_details import VoiceDetails
from backend.storage.buckets import SAMPLE_BUCKET
from backend.web.idempotency import new_id, once

queries = load_queries(__file__)


async def clone_file(
    context: AppContext, caller: Caller, original: BinaryIO, new: NewAttempt, details: VoiceDetails
) -> AttemptRow:
    """A file in the request: authorised, then inspected, before anything is stored."""
    content_type = plain_content_type(new.content_type)
    provider = context.choose_provider(new.provider)
    require_size(new.bytes, context.settings.attempts.max_sample_bytes, "sample")
    provider.limits.require_language(details.language)
    await check_opening(context, caller, new)
    async with temporary_file() as wav:
        prepared = await prepare(context, original, wav, provider.limits, caller.user_id)
    attempt_id = new_id()
    path = sample_path(caller.user_id, attempt_id, content_type)
    await open_attempt(context, caller, attempt_id, path, structs.replace(new, content_type=content_type))
    content = await read_whole(original)
    await context.storage.upload(SAMPLE_BUCKET, path, content, content_type, upsert=True)
    try:
        return await queue(context, caller.user_id, attempt_id, details, prepared, delay=0)
    except IllegalTransition:  # an earlier call with the same idempotency key queued it
        return await read_attempt(context, caller, attempt_id)


async def clone_sample(
    context: AppContext,
    caller: Caller,
    reflection_id: UUID,
    sample_id: UUID,
    provider_name: str | None,
    name: str,
) -> AttemptRow:
    """Another attempt with an inspected sample, whose language and transcript are known."""
    provider = context.choose_provider(provider_name)
    sample = (await read_inspected(context, caller, [sample_id])).get(sample_id)
    if sample is not None:  # else the sample is missing, another user's or not inspected: clone_sample raises
        provider.limits.require_language(sample.language or "")
        require_fit(sample.measures, provider.limits, "Name another provider, or clone another sample.")
    parameters = {
        "attempt": new_id(),
        "user": caller.user_id,
        "sample": sample_id,
        "reflection": reflection_id,
        "provider": provider.name,
        "region": provider.region or "",
        "preview_required": context.settings.attempts.preview_required,
        "name": name,
        "per_day": context.settings.attempts.per_day or None,
    }
    try:
        return required(await once(context.database, queries.clone_sample, parameters, row=AttemptRow))
    except Conflict as error:
        raise name_alternatives(context, error, provider.name) from error
