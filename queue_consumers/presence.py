"""Presence: the process writes into the database that it is alive, for the readiness check."""

import asyncio
import random
import socket
from collections.abc import Sequence
from typing import Never
from uuid import uuid4

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from backend.database.connections import checkout
from backend.database.queries import load_queries
from backend.queues.jobs import describe

log = structlog.get_logger("queue_consumers")
queries = load_queries(__file__)

REPORT_SECONDS = 15.0  # a quarter of the timeout `consumer`
STOP_SECONDS = 1.0  # for the last report, when the process ends


class Presence:
    """The row of this process."""

    def __init__(self, pool: AsyncConnectionPool, queues: Sequence[str]) -> None:
        self.is_failing = False  # the last report could not be written
        self._pool = pool
        self._row = {"id": uuid4(), "host": socket.gethostname() or "unknown", "queues": list(queues)}

    async def keep(self) -> Never:
        """Write it about every REPORT_SECONDS. What fails is logged once, until it succeeds again."""
        while True:
            try:
                await self._report(is_stopped=False)
                self.is_failing = False
            except psycopg.Error as error:
                if not self.is_failing:
                    log.warning("presence_not_reported", error=describe(error))
                self.is_failing = True
            await asyncio.sleep(REPORT_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load

    async def end(self) -> None:
        """Say that this process stops. Where that fails, the timeout `consumer` says it later."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._report(is_stopped=True)
        except (psycopg.Error, TimeoutError) as error:
            log.warning("presence_not_reported", error=describe(error))

    async def _report(self, *, is_stopped: bool) -> None:
        async with checkout(self._pool) as connection:
            await connection.execute(queries.report_consumer, {**self._row, "is_stopped": is_stopped})
