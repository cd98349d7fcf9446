"""The mirror: lifecycle state copied into `reflections.voice`. A message's id is the reflection's."""

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from backend.database.queries import load_queries
from backend.queues.outcomes import Done, Outcome
from backend.queues.queue import Message

queries = load_queries(__file__)


async def mirror_reflections(connection: AsyncConnection[Any], messages: Sequence[Message]) -> list[Outcome]:
    """Many messages about one reflection need one update."""
    ids = list({message.id for message in messages})
    await connection.execute(queries.mirror_reflections, {"ids": ids})
    return [Done() for _ in messages]
