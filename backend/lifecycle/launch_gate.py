"""The launch gate: may a session start? Requests that come at the same time share one query."""

from uuid import UUID

from msgspec import Struct

from backend.database.batching import Batcher
from backend.database.pool import Database
from backend.database.queries import load_queries
from backend.lifecycle.values import Blocker

queries = load_queries(__file__)


class LaunchGate(Struct, frozen=True, kw_only=True):
    """May a session start? The blockers say what it waits for, such as `preview_rendered`."""

    launchable: bool
    blockers: list[Blocker]


class GateRow(Struct, frozen=True):
    gate: LaunchGate | None  # null where the reflection is not the caller's


LaunchGates = Batcher[tuple[UUID, UUID], LaunchGate | None]


def launch_gates(database: Database) -> LaunchGates:
    """Loads by (reflection, user); None where the reflection is another user's."""

    async def fetch(keys: list[tuple[UUID, UUID]]) -> list[LaunchGate | None]:
        reflections, users = zip(*keys, strict=True)
        parameters = {"reflections": list(reflections), "users": list(users)}
        rows = await database.fetch_all(queries.launch_gates, parameters, row=GateRow)
        return [row.gate for row in rows]

    return Batcher(fetch)
