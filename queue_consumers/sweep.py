"""The sweep's timer: the sweep moves on every attempt and enrollment that is overdue."""

import asyncio
import random
from typing import Never

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from backend.database.backoff import Backoff
from backend.database.connections import checkout, sending_in_trace
from backend.database.queries import load_queries
from backend.queues.jobs import describe
from backend.telemetry.measures import SWEPT
from backend.telemetry.traces import message_traceparent, only_linked, span

log = structlog.get_logger("queue_consumers")
queries = load_queries(__file__)

FINDINGS = {"errors", "broken_consents"}  # counted, and not moved on
LIMIT = 100  # rows of each kind in one transaction; where as many were due, the next sweep follows at once


async def sweep_by_timer(pool: AsyncConnectionPool, seconds: float) -> Never:
    """One statement about every `seconds`, jittered, so that many processes take turns."""
    backoff = Backoff(cap=60.0)
    while True:
        await asyncio.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load, guards nothing
        try:
            while await sweep(pool) >= LIMIT:
                pass
            backoff.reset()
        except psycopg.Error as error:
            delay = backoff.next_delay()
            log.warning("not_sweeping", error=describe(error), again_in=round(delay, 2))
            await asyncio.sleep(delay)


async def sweep(pool: AsyncConnectionPool) -> int:
    """How many were moved on; a row with an error stays due."""
    with span("sweep"), only_linked():
        traceparent = message_traceparent()
        async with checkout(pool) as connection, sending_in_trace(connection, traceparent):
            cursor = await connection.execute(queries.sweep, {"limit": LIMIT})
        done = dict(await cursor.fetchall())
    for what, count in done.items():
        SWEPT.labels(what).inc(count)
    if "errors" in done:
        log.error("not_recovered", **done, help="Postgres's log names each attempt and its error.")
    elif done:
        log.info("swept", **done)
    if count := done.get("broken_consents"):
        log.error("consents_broken", count=count, help="`likeness consents verify` names each entry.")
    return sum(count for what, count in done.items() if what not in FINDINGS)
