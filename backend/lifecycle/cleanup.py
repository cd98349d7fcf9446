"""Clean-up of an enrollment without a worker: its open outcome is resolved, or its orphan is removed.

A clean-up that fails needs no retry of its own: the sweep sends it again, each time after twice the wait.
"""

from typing import Literal
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.pool import required
from backend.lifecycle.claim import queries
from backend.lifecycle.provider_errors import note_provider_error
from backend.providers.base import ProviderError, VoiceProvider
from backend.providers.places import find_provider
from backend.queues.outcomes import Done, Outcome
from backend.web.logs import log


class Cleanup(Struct, frozen=True, kw_only=True):
    """What there is to do. `check`: an earlier removal has an unknown outcome."""

    task: Literal["nothing", "look_up", "remove", "check"]
    reason: str | None
    provider: str
    region: str
    account: str
    label: str
    provider_voice_id: str | None
    settles_in_seconds: float


class CleanupResult(Struct, frozen=True, kw_only=True):
    status: Literal["orphaned", "closed", "removed"]
    voice: str | None = None
    target_model: str | None = None


async def clean_up(context: AppContext, enrollment_id: UUID, *, message_id: int | None = None) -> Outcome:
    """Raises NotFound where there is no such enrollment."""
    parameters = {"enrollment": enrollment_id}
    work = required(await context.database.fetch_one(queries.begin_cleanup, parameters, row=Cleanup))
    if work.task == "nothing":
        return Done(work.reason)
    try:
        place = (work.provider, work.region, work.account)
        result = await resolve(work, find_provider(context.providers, *place, region_is_known=True))
    except ProviderError as error:
        log.warning("cleanup_failed", enrollment_id=str(enrollment_id), task=work.task, error=str(error))
        await note_provider_error(context, enrollment_id, "cleanup", error)
        await context.database.execute(queries.note_failed_cleanup, {**parameters, "code": error.code})
        return Done(error.code)
    if result is None:
        return Done("not_settled")
    values = {
        **parameters,
        "status": result.status,
        "voice": result.voice,
        "target_model": result.target_model,
        "message": message_id,
    }
    status = await context.database.fetch_value(queries.end_cleanup, values, of=str)
    log.info("enrollment_cleaned_up", enrollment_id=str(enrollment_id), task=work.task, status=status)
    return Done(status, acknowledged=message_id is not None)


async def resolve(work: Cleanup, provider: VoiceProvider) -> CleanupResult | None:
    """What the provider says or does. None: it may still list the voice later."""
    if work.task == "look_up":
        found = await provider.find(work.label)
        if found is not None:
            return CleanupResult(
                status="orphaned", voice=found.provider_voice_id, target_model=found.target_model
            )
        return CleanupResult(status="closed") if work.settles_in_seconds <= 0 else None
    voice = work.provider_voice_id or ""
    if work.task == "remove" or await provider.describe(voice) is not None:
        await provider.delete(voice)
    return CleanupResult(status="removed")
