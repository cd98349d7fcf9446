"""The voice of an employee at another provider: a retry of what failed, or a move of what works.

docs/decisions/0078-the-voice-of-an-employee-elsewhere.md
"""

from typing import Any, LiteralString
from uuid import UUID

import msgspec
from msgspec import Struct

from backend.audio.inspection_frames import Inspection
from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.samples.preparation import require_movable
from backend.errors import Conflict
from backend.lifecycle.attempts import AttemptRow
from backend.lifecycle.slots import name_alternatives, place
from backend.providers.base import VoiceProvider
from backend.providers.places import is_here
from backend.web.idempotency import new_id, once

queries = load_queries(__file__)


class EmployeeSample(Struct, frozen=True, kw_only=True):
    """Of the active attempt; `account` is that of its voice, and empty where it has none."""

    attempt_id: UUID
    provider: str
    region: str
    account: str
    language: str
    measures: dict[str, Any] | None


async def retry(
    context: AppContext, caller: Caller, employee_id: UUID, provider_name: str | None
) -> AttemptRow:
    """The same attempt again; a new one where another provider is named. Conflict where nothing failed."""
    parameters: dict[str, Any] = {"employee": employee_id, "user": caller.user_id}
    sample = await find_sample(context, parameters)
    provider = context.choose_provider(provider_name or (sample.provider if sample else None))
    if provider_name is None:
        return await clone(context, queries.retry, parameters, provider)
    require_sample(sample, provider)
    parameters |= {
        "failed": sample.attempt_id if sample else None,
        "region": provider.region or "",
        "provider": provider.name,
    }
    return await clone(context, queries.retry_elsewhere, parameters, provider)


async def move(
    context: AppContext, caller: Caller, employee_id: UUID, provider_name: str | None, *, switch_now: bool
) -> AttemptRow:
    """The attempt that makes the new voice. One that cannot speak here any more is silenced by no move."""
    parameters: dict[str, Any] = {"employee": employee_id, "user": caller.user_id}
    sample = await find_sample(context, parameters)
    provider = context.choose_provider(provider_name)
    require_sample(sample, provider)
    can_speak = sample is None or is_here(context.providers, sample.provider, sample.region, sample.account)
    parameters |= {
        **place(provider),
        "switch": switch_now or not can_speak,
        "per_day": context.settings.attempts.per_day or None,
    }
    return await clone(context, queries.move, parameters, provider)


async def find_sample(context: AppContext, parameters: dict[str, Any]) -> EmployeeSample | None:
    """None without an active attempt. Raises NotFound or Forbidden for anyone but an admin."""
    return await context.database.fetch_one(queries.sample, parameters, row=EmployeeSample)


def require_sample(sample: EmployeeSample | None, provider: VoiceProvider) -> None:
    """Raises InvalidInput where the provider would not take it; what is missing, the database says."""
    if sample is not None and sample.measures is not None:
        measures = msgspec.convert(sample.measures, Inspection)
        require_movable(sample.language, measures, provider.limits)


async def clone(
    context: AppContext, statement: LiteralString, parameters: dict[str, Any], provider: VoiceProvider
) -> AttemptRow:
    values = {
        **parameters,
        "attempt": new_id(),
        "preview_required": context.settings.attempts.preview_required,
    }
    try:
        return required(await once(context.database, statement, values, row=AttemptRow))
    except Conflict as error:
        raise name_alternatives(context, error, provider.name) from error
