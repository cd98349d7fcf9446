"""Batched lookups: lookups of one kind that are made at the same time share one query."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

MAX_BATCH = 100  # keys of one query
MAX_CONCURRENT = 2  # queries: a slow one does not delay the lookups that come after it


class Batcher(Generic[Key, Value]):
    """At most two queries run at once; later lookups join the next batch. There is no timer.

    No value is older than its lookup: a key is never added to a query that was sent already.
    """

    def __init__(self, fetch: Callable[[list[Key]], Awaitable[Sequence[Value]]]) -> None:
        """`fetch` returns one value for each key, in order. What it raises, each caller of its batch gets."""
        self._fetch = fetch
        self._waiting: list[tuple[Key, asyncio.Future[Value]]] = []
        self._running: set[asyncio.Task[None] | None] = set()

    async def load(self, key: Key) -> Value:
        value: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, value))
        if len(self._running) < MAX_CONCURRENT:
            self._running.add(asyncio.create_task(self._run()))
        return await value

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._load_batch(batch)
        finally:
            # In the same step that found nothing waiting, so the next caller starts another task.
            self._running -= {asyncio.current_task()}

    async def _load_batch(self, batch: Sequence[tuple[Key, asyncio.Future[Value]]]) -> None:
        try:
            values = await self._fetch([key for key, _ in batch])
            for (_, caller), value in zip(batch, values, strict=True):
                if not caller.done():  # its request was cancelled
                    caller.set_result(value)
        except Exception as error:
            for _, caller in batch:
                if not caller.done():
                    caller.set_exception(error)
