"""What the runtime needs to know of a queue: its message type, its handler and its limits."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection

from backend.queues.outcomes import Outcome


class Message(Struct, frozen=True):
    """A message carries ids, never state: the handler reads the row."""

    event: str
    id: UUID
    version: int
    enqueued_at: datetime
    tries: int = 0  # counted before the message was requeued
    waiting_since: datetime | None = None  # when it first met an outage
    traceparent: str | None = None  # of the trace in which it was sent; see backend.telemetry.traces


class Delivery(Struct, frozen=True):
    """One read of a message."""

    queue: str
    msg_id: int
    tries: int  # this one included


Handle = Callable[[Delivery, Any], Awaitable[Outcome]]
HandleBatch = Callable[[AsyncConnection[Any], Sequence[Any]], Awaitable[list[Outcome]]]


class Queue(Struct, frozen=True, kw_only=True):
    """One queue, handled message by message (`handle`) or as a set (`handle_batch`).

    `handle_batch` runs in a transaction of the runtime, which also acknowledges the messages by the outcomes:
    one outcome for each message, in order. The connection's rows have the type that its pool sets.
    `concurrency` is the number of running handlers; of the `limited` queues, no more than MAX_JOBS handlers
    run at once in a process. `delay_seconds`: a message may become visible so long after its notification.
    """

    name: str
    message: type[Message] = Message
    handle: Handle | None = None
    handle_batch: HandleBatch | None = None
    batch_size: int = 50
    concurrency: int = 50
    limited: bool = False
    delay_seconds: float = 0.0

    def __post_init__(self) -> None:
        if (self.handle is None) == (self.handle_batch is None):
            raise ValueError(f"queue {self.name}: either handle or handle_batch")
