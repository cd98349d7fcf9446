"""One process, any queues: what they share, from start to drain."""

import asyncio
from collections.abc import Sequence

import structlog

from backend.database.listener import listen
from queue_consumers.consumer import Consumer
from queue_consumers.database import APPLICATION_NAME, WAKE_CHANNEL, open_pool
from queue_consumers.internal_http import open_client
from queue_consumers.queue import Queue
from queue_consumers.settings import Settings
from queue_consumers.sweep import sweep_by_timer

log = structlog.get_logger("queue_consumers")

RESERVE = 0.2  # the share of the grace kept for settling and putting back


async def consume(settings: Settings, queues: Sequence[Queue], stop: asyncio.Event) -> None:
    """Consume these queues until `stop` is set, then drain within the grace time."""
    loop = asyncio.get_running_loop()
    jobs = asyncio.Semaphore(settings.consumer.max_jobs)
    pool = open_pool(settings.database, len(queues))
    http = open_client(settings.service, settings.consumer.max_jobs)
    consumers = {
        queue.name: Consumer(
            queue,
            settings.consumer,
            pool,
            http,
            jobs if queue.calls_service else asyncio.Semaphore(queue.concurrency),
        )
        for queue in queues
    }

    def wake(queue: str = "") -> None:
        """That of a queue which a notification names, which may be another process's; else all."""
        for name, consumer in consumers.items():
            if queue in ("", name):
                consumer.wake.set()

    await pool.open()
    try:
        async with http, asyncio.TaskGroup() as tasks:
            listening = listen(settings.database, WAKE_CHANNEL, APPLICATION_NAME, wake, wake)
            running = [tasks.create_task(listening)]
            running += [tasks.create_task(consumer.run()) for consumer in consumers.values()]
            if settings.consumer.sweep_seconds:
                running.append(tasks.create_task(sweep_by_timer(pool, settings.consumer.sweep_seconds)))
            log.info("consuming", queues=[queue.name for queue in queues])
            await stop.wait()
            stopped_at, grace = loop.time(), settings.consumer.grace_seconds
            log.info("draining", grace_seconds=grace)
            try:
                async with asyncio.timeout_at(stopped_at + grace * (1 - RESERVE / 4)):
                    handlers_until = stopped_at + grace * (1 - RESERVE)
                    await asyncio.gather(*(consumer.drain(handlers_until) for consumer in consumers.values()))
            except TimeoutError:
                log.warning("grace is over; what is unsettled becomes visible again by itself")
            for task in running:
                task.cancel()
    finally:
        await pool.close(timeout=settings.consumer.grace_seconds * RESERVE / 4)
    log.info("drained")
