"""The heartbeat: the messages that this process holds stay invisible to other readers."""

import asyncio
from collections.abc import Callable
from typing import Any, Never

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from backend.database.connections import checkout
from backend.queues.acknowledgement import Acknowledger
from backend.queues.jobs import QueueJob
from backend.queues.messages import postpone_messages

log = structlog.get_logger("queues")


async def keep_invisible(
    queue: str,
    visibility: int,
    pool: AsyncConnectionPool[AsyncConnection[Any]],
    held: dict[int, QueueJob],
    acknowledger: Acknowledger,
    on_lost: Callable[[QueueJob], None],
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
            async with asyncio.timeout(interval), acknowledger.lock, checkout(pool) as connection:
                # Messages that were acknowledged in the meantime are not held any more.
                kept = [job for job in due if held.get(job.msg_id) is job]
                await postpone_messages(connection, queue, {job.msg_id: visibility for job in kept})
            for job in kept:
                job.visible_at = beat_at + visibility
        except (psycopg.Error, TimeoutError) as error:
            log.warning("heartbeat_failed", queue=queue, error=type(error).__name__)
        for job in due:
            if job.visible_at <= loop.time() and job.outcome is None and held.get(job.msg_id) is job:
                on_lost(job)
