"""Draining: a queue's messages handled for a limited time, in a process that has no resident consumer.

A handler that runs when the time is up continues in the background and acknowledges its own message.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

import psycopg
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from backend.errors import NotFound, Unavailable, from_postgres
from backend.queues.consumer import Consumer
from backend.queues.queue import Queue
from backend.settings.queues import QueueSettings

Start = Callable[[Coroutine[Any, Any, None]], asyncio.Task[Any]]


class Drained(Struct, frozen=True, kw_only=True):
    """Messages handled, messages whose handlers still run, and whether no message was left to read."""

    handled: int
    running: int
    empty: bool


class Drain:
    """One drain, as its consumer's way to read."""

    def __init__(self, seconds: float, free_slots: Callable[[], int] | None) -> None:
        """`free_slots`: how many more handlers may start in this process; None where it sets no limit."""
        loop = asyncio.get_running_loop()
        self.report: asyncio.Future[Drained] = loop.create_future()
        self.reserved = 0  # messages that are being read
        self._until = loop.time() + seconds
        self._free_slots = free_slots

    async def read(self, consumer: Consumer) -> None:
        try:
            self.report.set_result(await self._read_until_empty(consumer))
        except psycopg.Error as error:
            self.report.set_exception(from_postgres(error))

    async def _read_until_empty(self, consumer: Consumer) -> Drained:
        loop = asyncio.get_running_loop()
        while not consumer.stopping and (left := self._until - loop.time()) > 0:
            consumer.progress.clear()
            quantity = self._room(consumer)
            count = await self._reserve_and_read(consumer, quantity) if quantity else 0
            if quantity and count == quantity:
                continue
            if not consumer.unacknowledged:  # nothing to do, or other drains use all slots
                return Drained(handled=consumer.taken, running=0, empty=quantity > 0)
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await consumer.progress.wait()
        running = consumer.unacknowledged
        return Drained(handled=consumer.taken - running, running=running, empty=False)

    def _room(self, consumer: Consumer) -> int:
        """Only messages that can start at once are read: each read counts as a try."""
        queue = consumer.queue
        started_at_once = queue.concurrency if queue.handle else queue.concurrency * queue.batch_size
        room = min(queue.batch_size, started_at_once - consumer.unacknowledged)
        return max(0, room if self._free_slots is None else min(room, self._free_slots()))

    async def _reserve_and_read(self, consumer: Consumer, quantity: int) -> int:
        """Between the read's start and its end, no other drain may use these slots."""
        self.reserved = quantity
        try:
            return await consumer.read(quantity)
        finally:
            self.reserved = 0


class Drainer:
    """Drains any of these queues. All drains of a process share its MAX_JOBS."""

    def __init__(
        self,
        queues: Mapping[str, Queue],
        settings: QueueSettings,
        pool: AsyncConnectionPool[AsyncConnection[Any]],
        max_jobs: int,
        start: Start,
    ) -> None:
        """`start` runs a coroutine in the background, beyond the request that drains."""
        self._queues = queues
        self._settings = settings
        self._pool = pool
        self._max_jobs = max_jobs
        self._start = start
        self._running: dict[Drain, Consumer] = {}

    async def drain(self, name: str, seconds: float) -> Drained:
        """Handle messages until none is visible, or the time is up. NotFound: there is no such queue."""
        queue = self._queues.get(name)
        if queue is None:
            known = ", ".join(sorted(self._queues))
            raise NotFound("There is no such queue to drain.", field="queue", help=f"There are {known}.")
        drain = Drain(seconds, self._free_slots if queue.limited else None)
        slots = asyncio.Semaphore(queue.concurrency)
        consumer = Consumer(queue, self._settings, self._pool, slots, drain.read)
        running = self._start(self._run(drain, consumer))
        try:
            await asyncio.wait({running, drain.report}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            consumer.stop()
        if not drain.report.done():
            raise Unavailable("The drain was stopped; try again a little later.")
        return drain.report.result()

    def stop(self) -> None:
        """Read no more messages; running handlers finish."""
        for consumer in self._running.values():
            consumer.stop()

    async def _run(self, drain: Drain, consumer: Consumer) -> None:
        self._running[drain] = consumer
        try:
            await consumer.run()
        finally:
            del self._running[drain]

    def _free_slots(self) -> int:
        limited = [(drain, each) for drain, each in self._running.items() if each.queue.limited]
        return self._max_jobs - sum(drain.reserved + each.unacknowledged for drain, each in limited)
