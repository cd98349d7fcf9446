"""What the page shows, read once for all pages that are open.

The series comes from the event log. A slice that is over does not change, so it is read once and kept.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from backend.database.pool import Database
from backend.database.queries import load_queries
from backend.page.operations.findings import explain

queries = load_queries(__file__)

STATE_SECONDS = 5.0
SERIES_SECONDS = 30.0
SLICE = timedelta(minutes=10)
WINDOW = timedelta(hours=24)
OLDER = timedelta(hours=3)  # what one read adds at the old end, so that no read is long
FAILED = timedelta(hours=6)
LATE = timedelta(minutes=1)  # an event has the time of its transaction's begin, and is seen after its commit


class Reached(Struct, frozen=True, array_like=True):
    """So many attempts reached a status in the slice that begins then.

    `scale`: see operations.attempt_series.
    """

    since: datetime
    provider: str
    status: str
    error_code: str | None
    scale: int | None
    count: int


class ReachedRow(Reached, frozen=True, array_like=False):
    """As the database answers."""


class FailedAttempt(Struct, frozen=True):
    id: UUID
    failed_at: datetime
    provider: str
    region: str
    status: str
    runtime_status: str
    preview_status: str
    error_code: str | None


class Kept:
    """The bytes of an answer, made at most once in some seconds, and by one request at a time."""

    def __init__(
        self,
        make: Callable[[], Awaitable[object]],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._seconds = seconds
        self._clock = clock
        self._lock = asyncio.Lock()
        self._made = b""
        self._until = float("-inf")

    async def read(self) -> bytes:
        async with self._lock:
            if self._clock() >= self._until:
                self._made = msgspec.json.encode(await self._make())
                self._until = self._clock() + self._seconds
            return self._made

    def forget(self) -> None:
        """After a command, so that the next answer shows its effect."""
        self._until = float("-inf")


class Series:
    """What attempts reached in the last day, by slices of ten minutes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._from = self._to = datetime.fromtimestamp(0, UTC)  # what is kept, of slices that are over
        self._kept: list[Reached] = []

    async def read(self) -> dict[str, object]:
        now = datetime.now(UTC)
        latest = slice_of(now - LATE)
        begin = slice_of(now - WINDOW) + SLICE
        if self._to < latest - OLDER:
            self._from = self._to = latest
            self._kept = []
        added = await self._slices(self._to, now)
        if self._from > begin:
            older = max(begin, self._from - OLDER)
            self._kept = [*await self._slices(older, self._from), *self._kept]
            self._from = older
        self._kept = [each for each in self._kept if each.since >= begin]
        self._kept += [each for each in added if each.since < latest]
        self._to, self._from = latest, max(self._from, begin)
        failed = await self._database.fetch_all(
            queries.failed_attempts, {"since": now - FAILED}, row=FailedAttempt
        )
        return {
            "now": now,
            "from": self._from,
            "is_complete": self._from <= begin,
            "slice_seconds": int(SLICE.total_seconds()),
            "reached": [*self._kept, *(each for each in added if each.since >= latest)],
            "failed": failed,
        }

    async def _slices(self, start: datetime, end: datetime) -> list[Reached]:
        rows = await self._database.fetch_all(
            queries.attempt_series, {"from": start, "to": end}, row=ReachedRow
        )
        return [Reached(*msgspec.structs.astuple(row)) for row in rows]


def slice_of(moment: datetime) -> datetime:
    """The begin of the slice that has this moment."""
    seconds = SLICE.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


class Overviews:
    """Both answers; each worker process has its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.state = Kept(self._read_state, STATE_SECONDS)
        self.series = Kept(Series(database).read, SERIES_SECONDS)

    async def _read_state(self) -> dict[str, Any]:
        read = await self._database.fetch_value(queries.overview, {}, of=dict[str, Any])
        state = read or {}
        for attempt in state["stuck"]:
            attempt["explanation"] = explain(attempt["finding"])
        return {"now": datetime.now(UTC), **state}

    def forget(self) -> None:
        self.state.forget()
        self.series.forget()
