"""The mirror: lifecycle state copied into `reflections.voice`. A message's id is the reflection's."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import scalar_row

from backend.database.queries import load_queries
from backend.queues.outcomes import Done, Outcome, Snooze
from backend.queues.queue import Message

queries = load_queries(__file__)

# A locked reflection: how old its message is, in seconds, and after how many seconds it is read again.
RETRY_AFTER = ((1.0, 0), (30.0, 1), (float("inf"), 5))


async def mirror_reflections(connection: AsyncConnection[Any], messages: Sequence[Message]) -> list[Outcome]:
    """Many messages about one reflection need one update. A locked reflection keeps no other waiting."""
    ids = list({message.id for message in messages})
    cursor = connection.cursor(row_factory=scalar_row)
    await cursor.execute(queries.mirror_reflections, {"ids": ids})
    left: set[UUID] = set(await cursor.fetchone() or ())
    return [Snooze(retry_after(message), "locked") if message.id in left else Done() for message in messages]


def retry_after(message: Message) -> int:
    age = (datetime.now(UTC) - message.enqueued_at).total_seconds()
    return next(seconds for older_than, seconds in RETRY_AFTER if age < older_than)
