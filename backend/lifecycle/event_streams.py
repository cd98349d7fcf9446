"""Event streams: clients follow the transitions of an attempt, over one LISTEN connection for each process.

A notification carries an attempt's id. One query reads the new events of all followed attempts that changed,
while notifications for the next read collect. Each stream has a cursor, so a lost or repeated notification
does no harm: the next read starts at the cursor.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from datetime import datetime
from itertools import groupby, islice
from typing import Any, Never, Self
from uuid import UUID

from msgspec import Struct

from backend.database.backoff import Backoff
from backend.database.listener import listen
from backend.database.pool import Database
from backend.database.queries import load_queries
from backend.errors import Throttled, Unavailable
from backend.settings.database import DatabaseSettings
from backend.web.logs import log
from backend.web.timestamps import encode_json

queries = load_queries(__file__)

CHANNEL = "voice_clone_events"
BUFFER = 256  # events that wait for a slow client; then its stream ends, and it resumes by its last event id
READ_ATTEMPTS = 500  # of one query
READ_EVENTS = 100  # of one attempt in one query
STREAMS_PER_USER = 100
POLL_SECONDS = 20.0  # all followed attempts are read this often: a notification may be lost with its process
HEARTBEAT = b": still here\n\n"


class Transition(Struct, frozen=True, kw_only=True):
    """The data of an event: the edges taken, and the columns that changed."""

    attempt_id: UUID
    version: int
    events: list[str]
    changes: dict[str, Any]
    recorded_at: datetime


class TransitionRow(Transition, frozen=True, kw_only=True):
    id: int
    is_last: bool  # nothing more can come of this attempt


class Chunk(Struct, frozen=True):
    """An event as server-sent bytes, encoded once for all streams."""

    id: int
    data: bytes
    is_last: bool

    @classmethod
    def of(cls, row: TransitionRow) -> "Chunk":
        shown = Transition(**{name: getattr(row, name) for name in Transition.__struct_fields__})
        return cls(row.id, b"id: %d\ndata: %b\n\n" % (row.id, encode_json(shown)), row.is_last)


class EventStream:
    """One client's stream: the events not sent yet, and its cursor."""

    def __init__(self, after: int) -> None:
        self.after = after
        self._waiting: list[bytes] = []
        self._woken = asyncio.Event()
        self._ended = False

    def push(self, chunks: Iterable[Chunk]) -> None:
        """Add events after the cursor. Where the buffer is full the stream ends: the client is too slow."""
        for chunk in chunks:
            if self._ended or chunk.id <= self.after:
                continue
            if len(self._waiting) >= BUFFER:
                log.info("stream_too_slow", after=self.after)
                self.end()
                return
            self._waiting.append(chunk.data)
            self.after = chunk.id
            self._ended = chunk.is_last
            self._woken.set()

    def end(self) -> None:
        """End the stream after the waiting events."""
        self._ended = True
        self._woken.set()

    async def next(self, patience: float) -> bytes | None:
        """The next bytes, a comment after `patience` seconds without events, or None at the end."""
        try:
            async with asyncio.timeout(patience):
                await self._woken.wait()
        except TimeoutError:
            return HEARTBEAT
        taken = b"".join(self._waiting)
        self._waiting.clear()
        if not self._ended:
            self._woken.clear()
        return taken or None


class EventHub:
    """The streams of this process. It holds a LISTEN connection while there is at least one."""

    def __init__(self, settings: DatabaseSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._streams: dict[str, list[EventStream]] = {}  # by attempt id, as in the notification
        self._streams_of_user: Counter[UUID] = Counter()
        self._changed: set[str] = set()
        self._woken = asyncio.Event()
        self._running: list[asyncio.Task[Never]] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        running = self._running
        self._stop()
        await asyncio.gather(*running, return_exceptions=True)

    def close(self) -> None:
        """End every stream and refuse new ones: the process is stopping. Clients resume elsewhere."""
        self._closed = True
        for streams in self._streams.values():
            for stream in streams:
                stream.end()

    @contextmanager
    def follow(self, attempt_id: UUID, user_id: UUID, after: int) -> Iterator[EventStream]:
        """The attempt's events after this one, past and future. Raises Throttled, or Unavailable."""
        if self._closed:
            raise Unavailable("This process is stopping; follow the attempt again.", retry_after=1)
        if self._streams_of_user[user_id] >= STREAMS_PER_USER:
            raise Throttled(
                f"{STREAMS_PER_USER} event streams are open already.",
                code="too_many_event_streams",
                help="Close one of them; a stream that is not read is closed automatically.",
                extra={"limit": STREAMS_PER_USER},
                retry_after=5,
            )
        stream, attempt = EventStream(after), str(attempt_id)
        self._streams.setdefault(attempt, []).append(stream)
        self._streams_of_user[user_id] += 1
        self._start()
        self._mark([attempt])
        try:
            yield stream
        finally:
            self._leave(attempt, user_id, stream)

    def _leave(self, attempt: str, user_id: UUID, stream: EventStream) -> None:
        self._streams[attempt].remove(stream)
        if not self._streams[attempt]:
            del self._streams[attempt]
        self._streams_of_user[user_id] -= 1
        if not self._streams_of_user[user_id]:
            del self._streams_of_user[user_id]
        if not self._streams:
            self._stop()

    # -- while there are streams

    def _start(self) -> None:
        if self._running:
            return
        listening = listen(self._settings, CHANNEL, "likeness events", self._on_notify, self._on_listening)
        work: list[Coroutine[Any, Any, Never]] = [listening, self._read_changes()]
        # Without a request's context: the id of the first request must not appear in these logs.
        self._running = [asyncio.create_task(each, context=Context()) for each in work]

    def _stop(self) -> None:
        for task in self._running:
            task.cancel()
        self._running = []
        self._changed.clear()

    def _on_notify(self, attempt: str) -> None:
        if attempt in self._streams:
            self._mark([attempt])

    def _on_listening(self) -> None:
        """Commits made while disconnected sent no notification to us: read every followed attempt."""
        self._mark(self._streams)

    def _mark(self, attempts: Iterable[str]) -> None:
        self._changed.update(attempts)
        self._woken.set()

    async def _read_changes(self) -> Never:
        backoff = Backoff()
        while True:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                self._mark(self._streams)
            batch = list(islice(self._changed, READ_ATTEMPTS))
            self._changed.difference_update(batch)
            try:
                await self._read(batch)
                backoff.reset()
            except Exception as error:
                delay = backoff.next_delay()
                log.warning("events_not_read", error=repr(error), again_in=round(delay, 2))
                self._changed.update(batch)
                await asyncio.sleep(delay)
            if not self._changed:
                self._woken.clear()

    async def _read(self, changed: Sequence[str]) -> None:
        attempts = [attempt for attempt in changed if attempt in self._streams]
        after = [min(stream.after for stream in self._streams[attempt]) for attempt in attempts]
        parameters = {"attempts": attempts, "after": after, "limit": READ_EVENTS}
        rows = await self._database.fetch_all(queries.events_after, parameters, row=TransitionRow)
        for attempt_id, own in groupby(rows, key=lambda row: row.attempt_id):
            attempt, chunks = str(attempt_id), [Chunk.of(row) for row in own]
            for stream in self._streams.get(attempt, ()):
                stream.push(chunks)
            if len(chunks) == READ_EVENTS:
                self._mark([attempt])
