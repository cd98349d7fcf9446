"""The launch gate, asked by every session that starts: many askers, one query."""

from uuid import UUID

from msgspec import Struct

from backend.batching import Batcher
from backend.database import Database
from backend.sql import load_queries

queries = load_queries("reflections")


class LaunchGate(Struct, frozen=True, kw_only=True):
    """May a session start? The blockers say what it waits for, such as `preview_rendered`."""

    launchable: bool
    blockers: list[str]


class Answer(Struct, frozen=True):
    gate: LaunchGate | None  # where the reflection is the asker's


LaunchGates = Batcher[tuple[UUID, UUID], LaunchGate | None]


def launch_gates(database: Database) -> LaunchGates:
    """Ask with a reflection and its owner; None where it is another's."""

    async def answer(asked: list[tuple[UUID, UUID]]) -> list[LaunchGate | None]:
        reflections, owners = zip(*asked, strict=True)
        parameters = {"reflections": list(reflections), "owners": list(owners)}
        rows = await database.fetch_all(queries.launch_gates, parameters, row=Answer)
        return [row.gate for row in rows]

    return Batcher(answer)
