"""Inspected samples: those that passed, with what was measured."""

from collections.abc import Collection
from uuid import UUID

from msgspec import Struct

from backend.audio.inspection_frames import Inspection
from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.queries import load_queries

queries = load_queries(__file__)


class InspectedSample(Struct, frozen=True, kw_only=True):
    """A sample that passed before, perhaps for another provider."""

    id: UUID
    language: str | None
    measures: Inspection


async def read_inspected(
    context: AppContext, caller: Caller, sample_ids: Collection[UUID]
) -> dict[UUID, InspectedSample]:
    """By id, under row level security: a sample that is missing was not inspected, or is another user's."""
    mine = context.database.as_caller(caller)
    rows = await mine.fetch_all(queries.measures, {"samples": list(sample_ids)}, row=InspectedSample)
    return {row.id: row for row in rows}
