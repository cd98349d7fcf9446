"""What a queue is to the runtime: its message, its handler, and how many at once."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection

from backend.web.http_client import HttpClient
from queue_consumers.outcomes import Outcome


class Message(Struct, frozen=True):
    """Ids, never state: the handler reads the row."""

    event: str
    id: UUID
    version: int
    enqueued_at: datetime
    reflection_id: UUID | None = None  # of the attempt that the message is about
    tries: int = 0  # counted before a snooze sent it anew


class Context(Struct, frozen=True):
    """What a handler may use beside the message. `http` is bound to the service, with its token."""

    queue: str
    msg_id: int
    tries: int  # this one included
    http: HttpClient


Handle = Callable[[Context, Any], Awaitable[Outcome]]
HandleBatch = Callable[[AsyncConnection, Sequence[Any]], Awaitable[list[Outcome]]]


class Queue(Struct, frozen=True, kw_only=True):
    """One queue, handled message by message (`handle`) or as a set (`handle_batch`).

    `handle_batch` runs in a transaction of the runtime's, which also settles the messages by the outcomes,
    one for each message, in order. `concurrency` counts running handlers; of those that call the service, no
    more than MAX_JOBS run at once over all queues.
    """

    name: str
    message: type[Message] = Message
    handle: Handle | None = None
    handle_batch: HandleBatch | None = None
    batch_size: int = 50
    concurrency: int = 50
    calls_service: bool = False

    def __post_init__(self) -> None:
        if (self.handle is None) == (self.handle_batch is None):
            raise ValueError(f"queue {self.name}: either handle or handle_batch")
