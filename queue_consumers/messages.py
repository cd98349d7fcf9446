"""The queue operations, on any connection. Each batch is one statement."""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from psycopg import AsyncConnection

from backend.database.queries import load_queries

queries = load_queries(__file__)


# The database's time 'queue_hold', unless an operator set another: what waits longer is sent anew, and the
# database says whether that is the queue's to keep.
QUEUE_DELAY_SECONDS = 5


class SentAnew(Struct, frozen=True):
    """A message that is to be sent anew: its text, the tries it had, seconds until it is visible."""

    msg_id: int
    body: str
    tries: int
    delay: int


class DeadLetter(Struct, frozen=True):
    """A message that nobody is to handle any more: its text as it was read, how often it was, and why."""

    msg_id: int
    body: str | None
    reads: int
    reason: str


async def read_messages(
    connection: AsyncConnection, queue: str, visibility: int, quantity: int
) -> list[tuple[int, int, str | None]]:
    """(msg_id, read_ct, body), oldest first; invisible to others for `visibility` seconds."""
    cursor = await connection.execute(
        queries.read_messages, {"queue": queue, "visibility": visibility, "quantity": quantity}
    )
    return await cursor.fetchall()


async def archive_messages(connection: AsyncConnection, queue: str, ids: Sequence[int]) -> None:
    await connection.execute(queries.archive_messages, {"queue": queue, "ids": list(ids)})


async def postpone_messages(connection: AsyncConnection, queue: str, delays: Mapping[int, int]) -> None:
    """Invisible for so many seconds from now."""
    ids = sorted(delays)
    await connection.execute(
        queries.postpone_messages, {"queue": queue, "ids": ids, "delays": [delays[msg_id] for msg_id in ids]}
    )


async def release_messages(connection: AsyncConnection, queue: str, ids: Sequence[int]) -> None:
    """Visible at once, and consumers are told."""
    await connection.execute(
        queries.release_messages, {"queue": queue, "ids": list(ids), "delays": [0] * len(ids)}
    )


async def dead_letter_messages(
    connection: AsyncConnection, queue: str, letters: Sequence[DeadLetter]
) -> None:
    await connection.execute(
        queries.dead_letter_messages,
        {
            "queue": queue,
            "ids": [each.msg_id for each in letters],
            "bodies": [each.body for each in letters],
            "reads": [each.reads for each in letters],
            "reasons": [each.reason.replace("\0", "") for each in letters],  # which Postgres does not take
        },
    )


async def send_anew(connection: AsyncConnection, queue: str, anew: Sequence[SentAnew]) -> None:
    await connection.execute(
        queries.send_anew,
        {
            "queue": queue,
            "ids": [each.msg_id for each in anew],
            "bodies": [each.body for each in anew],
            "tries": [each.tries for each in anew],
            "delays": [each.delay for each in anew],
        },
    )
