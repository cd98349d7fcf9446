"""Mirror: copy lifecycle state into `reflections.voice`. The message's id is the reflection's."""

from collections.abc import Sequence

from psycopg import AsyncConnection

from backend.database.queries import load_queries
from queue_consumers.outcomes import Done, Outcome
from queue_consumers.queue import Message, Queue

queries = load_queries(__file__)


async def handle_batch(connection: AsyncConnection, messages: Sequence[Message]) -> list[Outcome]:
    """Many messages of one reflection are one mirroring."""
    ids = list({message.id for message in messages})
    await connection.execute(queries.mirror_reflections, {"ids": ids})
    return [Done() for _ in messages]


QUEUE = Queue(name="voice_mirror", handle_batch=handle_batch, batch_size=200, concurrency=1)
