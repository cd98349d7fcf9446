"""The operations on a queue's messages, on any connection. Each batch is one statement."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from backend.database.queries import load_queries

queries = load_queries(__file__)

WAKE_CHANNEL = "voice_clone_wake"  # a notification names the queue that got a message

# The database's timeout 'queue_hold', unless an operator set another: a longer delay is requeued, and the
# database decides whether the message waits in its queue.
QUEUE_DELAY_SECONDS = 5


class RequeuedMessage(Struct, frozen=True):
    """A message to send again: its text, its tries so far, the seconds until it is visible.

    `waiting_since`, where given, is when it first met an outage.
    """

    msg_id: int
    body: str
    tries: int
    delay: int
    waiting_since: datetime | None = None


class DeadLetter(Struct, frozen=True):
    """A message that no handler gets again: its text as it was read, how often it was read, and why."""

    msg_id: int
    body: str | None
    reads: int
    reason: str


async def read_messages(
    connection: AsyncConnection[Any], queue: str, visibility: int, quantity: int
) -> list[tuple[int, int, str | None, float]]:
    """(msg_id, read_ct, body, seconds since it was sent), oldest first.

    Invisible to others for `visibility` seconds.
    """
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(
        queries.read_messages, {"queue": queue, "visibility": visibility, "quantity": quantity}
    )
    return await cursor.fetchall()


async def acknowledge_messages(connection: AsyncConnection[Any], queue: str, ids: Sequence[int]) -> None:
    await connection.execute(queries.acknowledge_messages, {"queue": queue, "ids": list(ids)})


async def postpone_messages(connection: AsyncConnection[Any], queue: str, delays: Mapping[int, int]) -> None:
    """Invisible for the given seconds from now."""
    ids = sorted(delays)
    await connection.execute(
        queries.postpone_messages, {"queue": queue, "ids": ids, "delays": [delays[msg_id] for msg_id in ids]}
    )


async def release_messages(connection: AsyncConnection[Any], queue: str, ids: Sequence[int]) -> None:
    """Visible at once; consumers are notified."""
    await connection.execute(
        queries.release_messages, {"queue": queue, "ids": list(ids), "delays": [0] * len(ids)}
    )


async def dead_letter_messages(
    connection: AsyncConnection[Any], queue: str, letters: Sequence[DeadLetter]
) -> None:
    await connection.execute(
        queries.dead_letter_messages,
        {
            "queue": queue,
            "ids": [each.msg_id for each in letters],
            "bodies": [each.body for each in letters],
            "reads": [each.reads for each in letters],
            "reasons": [each.reason.replace("\0", "") for each in letters],  # Postgres stores no NUL
        },
    )


async def requeue_messages(
    connection: AsyncConnection[Any], queue: str, requeued: Sequence[RequeuedMessage]
) -> None:
    await connection.execute(
        queries.requeue_messages,
        {
            "queue": queue,
            "ids": [each.msg_id for each in requeued],
            "bodies": [each.body for each in requeued],
            "tries": [each.tries for each in requeued],
            "delays": [each.delay for each in requeued],
            "waits": [each.waiting_since for each in requeued],
        },
    )
