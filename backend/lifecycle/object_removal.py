"""Removal of objects from Storage: recordings and previews of a removed voice, or all of a deleted user's.

A removal that fails needs no retry of its own: the sweep sends it again, each time after twice the wait.
"""

from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.errors import StorageUnavailable
from backend.lifecycle.claim import queries
from backend.queues.outcomes import Done, Outcome
from backend.storage.client import StorageRefused
from backend.web.logs import log

BATCH = 500  # objects of one request to Storage


class ObjectRemoval(Struct, frozen=True, kw_only=True):
    """`is_final`: no upload that was signed before can arrive any more."""

    bucket: str
    folder: str
    is_final: bool


async def remove_objects(
    context: AppContext, removal_id: UUID, /, *, message_id: int | None = None
) -> Outcome:
    """Empty the folder. Safe to run twice, and late."""
    parameters = {"removal": removal_id}
    work = await context.database.fetch_one(queries.begin_object_removal, parameters, row=ObjectRemoval)
    if work is None:
        return Done("removed")
    try:
        paths = [path async for path in context.storage.walk(work.bucket, work.folder)]
        for start in range(0, len(paths), BATCH):
            await context.storage.remove(work.bucket, paths[start : start + BATCH])
    except (StorageRefused, StorageUnavailable) as error:
        log.warning("object_removal_failed", removal_id=str(removal_id), error=error.code)
        return Done(error.code)
    values = {**parameters, "is_final": work.is_final, "message": message_id}
    await context.database.execute(queries.end_object_removal, values)
    log.info("objects_removed", removal_id=str(removal_id), objects=len(paths), is_final=work.is_final)
    return Done("removed", acknowledged=message_id is not None)
