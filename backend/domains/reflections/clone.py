"""Cloning for a reflection: a file in the request, or a sample that was inspected before."""

from typing import BinaryIO
from uuid import UUID

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.samples.added import NewSample, add_inline, delete_sample
from backend.domains.samples.inspected import read_inspected
from backend.domains.samples.preparation import require_fit, require_size
from backend.domains.samples.uploads import NewAttempt, check_opening
from backend.domains.samples.voice_details import VoiceDetails
from backend.errors import Conflict, InvalidInput
from backend.lifecycle.attempts import AttemptRow
from backend.lifecycle.slots import name_alternatives
from backend.web.idempotency import has_result, new_id, once

queries = load_queries(__file__)


async def clone_file(
    context: AppContext, caller: Caller, original: BinaryIO, new: NewAttempt, details: VoiceDetails
) -> AttemptRow:
    """A file in the request: authorised first, then stored and inspected as a sample, then cloned.

    A refused sample leaves nothing behind.
    """
    provider = context.choose_provider(new.provider)
    require_size(new.bytes, context.settings.attempts.max_sample_bytes, "sample")
    provider.limits.require_language(details.language)
    await check_opening(context, caller, new)
    sample_id = new_id()
    if not has_result():  # else an earlier request with this idempotency key has cloned it
        opened = NewSample(
            id=sample_id,
            user_id=caller.user_id,
            consent_id=new.consent_id,
            reflection_id=new.reflection_id,
            is_kept=False,
            content_type=new.content_type,
            bytes=new.bytes,
            name=details.name,
            language=details.language,
            transcript=details.transcript,
        )
        await add_inline(context, opened, original, provider)
    assert new.reflection_id is not None  # noqa: S101 - of the route's address
    try:
        return await clone_sample(context, caller, new.reflection_id, sample_id, new.provider, details.name)
    except InvalidInput:  # it does not fit the provider, or its consent was revoked meanwhile
        await delete_sample(context, caller.user_id, sample_id)
        raise


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
