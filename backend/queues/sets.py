"""Set-based handling: one transaction for the effect of many messages and for their acknowledgement."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from backend.database.connections import checkout
from backend.queues.acknowledgement import Acknowledgement, Acknowledger
from backend.queues.jobs import DeadlineError, QueueJob
from backend.queues.queue import Queue
from backend.telemetry.traces import read_traceparent, span


async def commit_set(
    queue: Queue,
    jobs: Sequence[QueueJob],
    pool: AsyncConnectionPool[AsyncConnection[Any]],
    acknowledger: Acknowledger,
    deadline: float,
) -> Acknowledgement:
    """What was acknowledged. Raises what the handler raises; then the transaction has no effect."""
    assert queue.handle_batch is not None  # noqa: S101
    batch = acknowledger.new_batch()
    timeout = asyncio.timeout(deadline)
    try:
        links = [each for job in jobs if (each := read_traceparent(job.message.traceparent))]
        with span(f"{queue.name} handle", "CONSUMER", links=links, messages=len(jobs)):
            async with (
                timeout,
                checkout(pool) as connection,
                AsyncExitStack() as until_committed,
                connection.transaction(),
            ):
                outcomes = await queue.handle_batch(connection, [job.message for job in jobs])
                for job, outcome in zip(jobs, outcomes, strict=True):
                    batch.add(job, outcome)
                # From here to the commit no heartbeat may touch the rows.
                await until_committed.enter_async_context(acknowledger.lock)
                await batch.write(connection)
    except TimeoutError as error:
        if timeout.expired():
            raise DeadlineError(f"stopped after {deadline:g} s") from error
        raise
    return batch
