"""How a resident consumer reads: ahead of its handlers, and an idle queue at each notification."""

import asyncio
import random
from contextlib import suppress

import psycopg
import structlog

from backend.database.backoff import Backoff
from backend.queues.consumer import Consumer
from backend.queues.jobs import describe

log = structlog.get_logger("queues")

# The least time from a read that emptied the queue to the next: a busy queue is read a few messages at a
# time, and an idle one at once.
PACE_SECONDS = 0.02


async def read_ahead(consumer: Consumer, poll_seconds: float) -> None:
    """Until the consumer is stopped; through outages of Postgres."""
    loop = asyncio.get_running_loop()
    backoff = Backoff()
    while not consumer.stopping:
        await consumer.room.wait()
        if consumer.stopping:
            break
        consumer.wake.clear()
        try:
            count = await consumer.read(consumer.queue.batch_size)
        except psycopg.Error as error:
            delay = backoff.next_delay()
            if backoff.is_news():
                log.warning("not_reading", queue=consumer.queue.name, error=describe(error))
            await wait_for_wake(consumer, delay)
            continue
        backoff.reset()
        if count < consumer.queue.batch_size:
            again_at = loop.time() + PACE_SECONDS
            # A notification, or the slow poll that covers for a lost one.
            await wait_for_wake(consumer, poll_seconds * random.uniform(0.5, 1.5))  # noqa: S311
            await asyncio.sleep(again_at - loop.time())


async def wait_for_wake(consumer: Consumer, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await consumer.wake.wait()
