"""Retry of a failed attempt, at the same provider or, with the same consented sample, at another."""

from uuid import UUID

from msgspec import Struct

from backend.audio.inspection_frames import Inspection
from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.samples.preparation import require_fit
from backend.errors import Conflict
from backend.lifecycle.attempts import AttemptRow
from backend.lifecycle.slots import name_alternatives
from backend.web.idempotency import new_id, once

queries = load_queries(__file__)


class ActiveAttempt(Struct, frozen=True, kw_only=True):
    id: UUID
    provider: str
    language: str | None
    measures: Inspection | None


async def retry(
    context: AppContext, caller: Caller, reflection_id: UUID, provider_name: str | None
) -> AttemptRow:
    """The same attempt again; a new one where another provider is named. Conflict where nothing failed."""
    mine = context.database.as_caller(caller)
    active = await mine.fetch_one(queries.active, {"reflection": reflection_id}, row=ActiveAttempt)
    parameters = {"reflection": reflection_id, "user": caller.user_id}
    statement = queries.retry
    wanted = provider_name or (active.provider if active else None)
    provider = context.choose_provider(wanted)
    if provider_name is not None:
        if active is not None and active.measures is not None:
            provider.limits.require_language(active.language or "")
            require_fit(active.measures, provider.limits, "Retry elsewhere, or clone another sample.")
        statement = queries.retry_elsewhere
        parameters |= {
            "attempt": new_id(),
            "failed": active.id if active else None,
            "provider": provider.name,
            "region": provider.region or "",
            "preview_required": context.settings.attempts.preview_required,
        }
    try:
        return required(await once(context.database, statement, parameters, row=AttemptRow))
    except Conflict as error:
        raise name_alternatives(context, error, provider.name) from error
