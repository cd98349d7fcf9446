"""The heartbeat: messages in this process's hands stay invisible to other readers."""

import asyncio
from collections.abc import Callable
from typing import Never

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from backend.database.connections import checkout
from queue_consumers.jobs import Job
from queue_consumers.messages import postpone_messages
from queue_consumers.settlement import Settler

log = structlog.get_logger("queue_consumers")


async def keep_invisible(
    queue: str,
    visibility: int,
    pool: AsyncConnectionPool,
    held: dict[int, Job],
    settler: Settler,
    on_lost: Callable[[Job], None],
) -> Never:
    """Extend every held message three times as often as needed; `on_lost` where that failed for too long."""
    loop = asyncio.get_running_loop()
    interval = visibility / 3
    while True:
        await asyncio.sleep(interval)
        beat_at = loop.time()
        due = [job for job in held.values() if job.visible_at - beat_at <= 2 * interval]
        if not due:
            continue
        try:
            async with asyncio.timeout(interval), settler.lock, checkout(pool) as connection:
                # Those that a settlement took meanwhile have their own time.
                kept = [job for job in due if held.get(job.msg_id) is job]
                await postpone_messages(connection, queue, {job.msg_id: visibility for job in kept})
            for job in kept:
                job.visible_at = beat_at + visibility
        except (psycopg.Error, TimeoutError) as error:
            log.warning("heartbeat failed", queue=queue, error=type(error).__name__)
        for job in due:
            if job.visible_at <= loop.time() and job.outcome is None and held.get(job.msg_id) is job:
                on_lost(job)
