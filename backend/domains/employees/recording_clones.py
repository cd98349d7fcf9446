"""Cloning an employee because their recording was stored, where the organization asked for it.

docs/decisions/0054-a-recording-that-is-cloned-by-itself.md
"""

from typing import Any
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.domains.employees.prepared_recordings import (
    REPLACED,
    Cloning,
    choose_provider,
    parameters_of,
    prepare_recording,
    request_of,
)
from backend.errors import AppError, Throttled
from backend.queues.outcomes import Done, Outcome, Snooze
from backend.web.logs import log

queries = load_queries(__file__)
BUSY_SECONDS = 5.0
LATER = frozenset({"inspection_in_progress"})


class StoredRecording(Struct, frozen=True, kw_only=True):
    id: UUID
    employee_id: UUID
    object_version: str
    language: str  # of the organization


async def clone_stored_recording(
    context: AppContext, clone_id: UUID, /, *, message_id: int | None = None
) -> Outcome:
    """From the queue. Why a recording is not cloned is kept in its row, for a member to read."""
    parameters = {"clone": clone_id}
    found = await context.database.fetch_one(queries.begin_recording_clone, parameters, row=StoredRecording)
    if found is None:
        return Done("nothing_to_do")
    try:
        is_queued = await clone_object(context, found, message_id)
    except AppError as error:
        if error.code in LATER:
            return Snooze(error.retry_after or BUSY_SECONDS, error.code)
        values: dict[str, Any] = {**parameters, "code": error.code, "error": error.message}
        if error.status >= 500 or isinstance(error, Throttled):
            await context.database.execute(queries.postpone_recording_clone, values)
            raise
        status = "superseded" if error.code == REPLACED else "refused"
        ended = {**values, "status": status, "message": message_id}
        await context.database.execute(queries.end_recording_clone, ended)
        log.info("recording_not_cloned", clone_id=str(clone_id), code=error.code)
        return Done(error.code, acknowledged=message_id is not None)
    return Done("queued", acknowledged=message_id is not None) if is_queued else Done("nothing_to_do")


async def clone_object(context: AppContext, found: StoredRecording, message_id: int | None) -> bool:
    """False where an earlier call has queued it."""
    provider = choose_provider(context, None, found.language)
    cloning = Cloning(
        id=found.id,
        employee_id=found.employee_id,
        user_id=None,
        is_repeatable=True,
        object_version=found.object_version,
    )
    await prepare_recording(context, cloning, found.language, provider)
    parameters = {
        **parameters_of(context, cloning),
        **request_of(context, provider),
        "clone": found.id,
        "message": message_id,
    }
    queued = await context.database.fetch_value(queries.queue_recording_clone, parameters, of=bool)
    return bool(queued)
