"""Event streams: whoever follows an attempt is told of its transitions, over one LISTEN connection a process.

A notification carries an attempt's id. What became of all attempts that changed and are followed here is read
in one query, while notifications of the next read gather. Each listener has a cursor, so whatever a
notification missed, or came twice, the next read sets right.
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

import msgspec
from msgspec import Struct

from backend.database.backoff import Backoff
from backend.database.listener import listen
from backend.database.pool import Database
from backend.database.queries import load_queries
from backend.errors import Throttled, Unavailable
from backend.settings.database import DatabaseSettings
from backend.web.logs import log

queries = load_queries(__file__)

CHANNEL = "voice_clone_events"
BUFFER = 256  # events that wait for a slow listener before it is sent away, to resume where it was
READ_ATTEMPTS = 500  # in one query
READ_EVENTS = 100  # of one attempt in one query
STREAMS_PER_OWNER = 100
HEARTBEAT = b": still here\n\n"


class Transition(Struct, frozen=True, kw_only=True):
    """An event as those who follow its attempt read it, beside its id: the edges taken, and what changed."""

    attempt_id: UUID
    version: int
    events: list[str]
    changes: dict[str, Any]
    recorded_at: datetime


class TransitionRow(Transition, frozen=True, kw_only=True):
    id: int
    is_last: bool  # nothing more can come of this attempt


class Chunk(Struct, frozen=True):
    """An event on the wire, the same bytes for each of its listeners."""

    id: int
    data: bytes
    is_last: bool

    @classmethod
    def of(cls, row: TransitionRow) -> "Chunk":
        shown = Transition(**{name: getattr(row, name) for name in Transition.__struct_fields__})
        return cls(row.id, b"id: %d\ndata: %b\n\n" % (row.id, msgspec.json.encode(shown)), row.is_last)


class EventStream:
    """One listener: what it has not been sent yet, and where it is."""

    def __init__(self, after: int) -> None:
        self.after = after
        self._waiting: list[bytes] = []
        self._woken = asyncio.Event()
        self._ended = False

    def push(self, chunks: Iterable[Chunk]) -> None:
        """What it has already is left out. Where the buffer is full it ends: the listener is too slow."""
        for chunk in chunks:
            if self._ended or chunk.id <= self.after:
                continue
            if len(self._waiting) >= BUFFER:
                log.info("listener_too_slow", after=self.after)
                self.end()
                return
            self._waiting.append(chunk.data)
            self.after = chunk.id
            self._ended = chunk.is_last
            self._woken.set()

    def end(self) -> None:
        """After what waits, nothing more."""
        self._ended = True
        self._woken.set()

    async def next(self, patience: float) -> bytes | None:
        """What came, a comment when nothing did for `patience` seconds, or None at the end."""
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
    """The listeners of this process. It listens while there are any."""

    def __init__(self, settings: DatabaseSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._streams: dict[str, list[EventStream]] = {}  # by attempt, as a notification names it
        self._of_owner: Counter[UUID] = Counter()
        self._changed: set[str] = set()
        self._woken = asyncio.Event()
        self._running: list[asyncio.Task[Never]] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        running = self._running
        self._rest()
        await asyncio.gather(*running, return_exceptions=True)

    def close(self) -> None:
        """End every stream, and let nobody in: the process is about to stop. Clients resume elsewhere."""
        self._closed = True
        for streams in self._streams.values():
            for stream in streams:
                stream.end()

    @contextmanager
    def follow(self, attempt_id: UUID, owner: UUID, after: int) -> Iterator[EventStream]:
        """What came of the attempt after this event, and what will. Raises Throttled, or Unavailable."""
        if self._closed:
            raise Unavailable("This process is stopping; follow the attempt again.", retry_after=1)
        if self._of_owner[owner] >= STREAMS_PER_OWNER:
            raise Throttled(
                f"{STREAMS_PER_OWNER} event streams are open already.",
                code="too_many_event_streams",
                help="Close one of them; a stream that nobody reads is closed by itself.",
                retry_after=5,
            )
        stream, attempt = EventStream(after), str(attempt_id)
        self._streams.setdefault(attempt, []).append(stream)
        self._of_owner[owner] += 1
        self._start()
        self._mark([attempt])
        try:
            yield stream
        finally:
            self._leave(attempt, owner, stream)

    def _leave(self, attempt: str, owner: UUID, stream: EventStream) -> None:
        self._streams[attempt].remove(stream)
        if not self._streams[attempt]:
            del self._streams[attempt]
        self._of_owner[owner] -= 1
        if not self._of_owner[owner]:
            del self._of_owner[owner]
        if not self._streams:
            self._rest()

    # -- while anyone listens

    def _start(self) -> None:
        if self._running:
            return
        listening = listen(self._settings, CHANNEL, "likeness events", self._on_notify, self._on_listening)
        work: list[Coroutine[Any, Any, Never]] = [listening, self._read_changes()]
        # In no request's context: the first listener's id has no place in what is logged here.
        self._running = [asyncio.create_task(each, context=Context()) for each in work]

    def _rest(self) -> None:
        for task in self._running:
            task.cancel()
        self._running = []
        self._changed.clear()

    def _on_notify(self, attempt: str) -> None:
        if attempt in self._streams:
            self._mark([attempt])

    def _on_listening(self) -> None:
        """Whatever was committed while nobody listened was not notified of."""
        self._mark(self._streams)

    def _mark(self, attempts: Iterable[str]) -> None:
        self._changed.update(attempts)
        self._woken.set()

    async def _read_changes(self) -> Never:
        backoff = Backoff()
        while True:
            await self._woken.wait()
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
