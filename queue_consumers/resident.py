"""The resident process: what its queues share, from start to drain."""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog

from backend.database.listener import listen
from backend.queues.consumer import Consumer
from backend.queues.messages import WAKE_CHANNEL
from backend.queues.queue import Queue
from backend.queues.reading import read_ahead
from queue_consumers.database import APPLICATION_NAME, open_pool
from queue_consumers.metrics import serving_metrics
from queue_consumers.presence import Presence
from queue_consumers.settings import ProcessSettings
from queue_consumers.sweep import sweep_by_timer

log = structlog.get_logger("queue_consumers")

RESERVE = 0.2  # the share of the grace that is kept for acknowledging and releasing


async def consume(settings: ProcessSettings, queues: Sequence[Queue], stop: asyncio.Event) -> None:
    """Consume these queues until `stop` is set, then drain within the grace time."""
    loop = asyncio.get_running_loop()
    jobs = asyncio.Semaphore(settings.consumer.max_jobs)
    pool = open_pool(settings.database, len(queues))
    read = partial(read_ahead, poll_seconds=settings.consumer.poll_seconds)
    consumers = {
        queue.name: Consumer(
            queue,
            settings.consumer,
            pool,
            jobs if queue.limited else asyncio.Semaphore(queue.concurrency),
            read,
        )
        for queue in queues
    }

    def wake(queue: str = "") -> None:
        """The consumer of the queue that a notification names, or all; it may be another process's queue."""
        for name, consumer in consumers.items():
            if queue in ("", name):
                consumer.notify()

    presence = Presence(pool, list(consumers))
    await pool.open()
    try:
        async with serving_metrics(settings.consumer, presence), asyncio.TaskGroup() as tasks:
            listening = listen(settings.database, WAKE_CHANNEL, APPLICATION_NAME, wake, wake)
            beside = [tasks.create_task(listening), tasks.create_task(presence.keep())]
            if settings.consumer.sweep_seconds:
                beside.append(tasks.create_task(sweep_by_timer(pool, settings.consumer.sweep_seconds)))
            running = [tasks.create_task(consumer.run()) for consumer in consumers.values()]
            log.info("consuming", queues=[queue.name for queue in queues])
            await stop.wait()
            stopped_at, grace = loop.time(), settings.consumer.grace_seconds
            log.info("draining", grace_seconds=grace)
            for consumer in consumers.values():
                consumer.stop(stopped_at + grace * (1 - RESERVE))
            _, late = await asyncio.wait(running, timeout=grace * (1 - RESERVE / 4))
            if late:
                log.warning("grace_over", help="Unacknowledged messages become visible again by themselves.")
            for task in [*beside, *late]:
                task.cancel()
        await presence.end()
    finally:
        await pool.close(timeout=settings.consumer.grace_seconds * RESERVE / 4)
    log.info("drained")
