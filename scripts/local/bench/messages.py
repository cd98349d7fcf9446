"""Messages through the consumer runtime: how many a second, and how soon an idle consumer picks one up."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import msgspec
import psycopg

from backend.settings.database import DatabaseSettings
from queue_consumers.outcomes import Done, Outcome
from queue_consumers.queue import Context, Message, Queue
from queue_consumers.runtime import consume
from queue_consumers.settings import ConsumerSettings, Settings

QUEUE = "voice_preview"
BATCH = 200


async def measure_messages_per_second(database_url: str, count: int = 50_000) -> float:
    """Messages that wait in a queue, read, handled one by one by a no-op and archived, over the time it took.

    The queue must be empty before; it is empty afterwards.
    """
    await send_messages(database_url, count)
    handled = 0
    all_handled = asyncio.Event()

    async def handle(_: Context, __: Message) -> Outcome:
        nonlocal handled
        handled += 1
        if handled == count:
            all_handled.set()
        return Done()

    started = time.perf_counter()
    async with consuming(database_url, Queue(name=QUEUE, handle=handle, batch_size=BATCH)):
        await all_handled.wait()
    return count / (time.perf_counter() - started)


async def measure_pick_up(database_url: str, count: int = 200) -> tuple[float, float]:
    """p50 and p99, in seconds: from before the send to the start of an idle consumer's handler."""
    picked_up: asyncio.Queue[float] = asyncio.Queue()

    async def handle(_: Context, __: Message) -> Outcome:
        picked_up.put_nowait(time.perf_counter())
        return Done()

    latencies: list[float] = []
    async with (
        consuming(database_url, Queue(name=QUEUE, handle=handle)),
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as sender,
    ):
        await send(sender, 1)
        await picked_up.get()
        for _ in range(count):
            await asyncio.sleep(random.uniform(0.03, 0.06))  # noqa: S311 - until it is idle, at no fixed beat
            sent_at = time.perf_counter()
            await send(sender, 1)
            latencies.append(await picked_up.get() - sent_at)
    return percentile(latencies, 50), percentile(latencies, 99)


@asynccontextmanager
async def consuming(database_url: str, queue: Queue) -> AsyncIterator[None]:
    """A consumer of one queue, drained at the end."""
    settings = Settings(
        database=DatabaseSettings(url=database_url),
        service=None,
        consumer=ConsumerSettings(poll_seconds=3600),
    )
    stop = asyncio.Event()
    consumer = asyncio.create_task(consume(settings, [queue], stop))
    try:
        yield
    finally:
        stop.set()
        await consumer


async def send_messages(database_url: str, count: int, at_once: int = 5_000) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as sender:
        for start in range(0, count, at_once):
            await send(sender, min(at_once, count - start))


async def send(sender: psycopg.AsyncConnection, count: int) -> None:
    bodies = [
        msgspec.json.encode(
            {
                "event": "bench",
                "id": uuid4(),
                "version": 1,
                "enqueued_at": "2026-01-01T00:00:00Z",
            }
        ).decode()
        for _ in range(count)
    ]
    await sender.execute("select voice_clone.send_messages(%s, %s::jsonb[], 0)", [QUEUE, bodies])


def percentile(values: Sequence[float], share: int) -> float:
    """The nearest rank."""
    return sorted(values)[max(0, math.ceil(len(values) * share / 100) - 1)]
