"""Set-based handling: one transaction for the effect of many messages and for settling them."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from psycopg_pool import AsyncConnectionPool

from backend.database.connections import checkout
from queue_consumers.jobs import DeadlineError, Job
from queue_consumers.queue import Queue
from queue_consumers.settlement import Settlement, Settler


async def commit_set(
    queue: Queue, jobs: Sequence[Job], pool: AsyncConnectionPool, settler: Settler, deadline: float
) -> Settlement:
    """What was settled. Raises what the handler raises, and then nothing has happened."""
    assert queue.handle_batch is not None  # noqa: S101
    settlement = settler.new()
    timeout = asyncio.timeout(deadline)
    try:
        async with (
            timeout,
            checkout(pool) as connection,
            AsyncExitStack() as until_committed,
            connection.transaction(),
        ):
            outcomes = await queue.handle_batch(connection, [job.message for job in jobs])
            for job, outcome in zip(jobs, outcomes, strict=True):
                settlement.add(job, outcome)
            await until_committed.enter_async_context(settler.lock)  # no heartbeat touches the rows from here
            await settlement.write(connection)
    except TimeoutError as error:
        if timeout.expired():
            raise DeadlineError(f"stopped after {deadline:g} s") from error
        raise
    return settlement
