"""The consumers' connections to Postgres: they notice an outage soon, and reconnect by themselves."""

from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from backend.database.connections import WarmPool, session_options
from backend.database.timeouts import Timeouts
from backend.settings.database import DatabaseSettings

APPLICATION_NAME = "queue_consumers"


def open_pool(settings: DatabaseSettings, queues: int) -> AsyncConnectionPool:
    """Not connected yet: the process also starts while Postgres is down."""
    pool = WarmPool[AsyncConnection[Any]](
        settings.url,
        kwargs=session_options(settings, APPLICATION_NAME),
        min_size=min(2, settings.pool_size),
        max_size=max(2, min(settings.pool_size, 4 * queues)),
        timeout=5.0,
        reconnect_timeout=4.0,  # then the next request connects again, without a growing backoff
        open=False,
    )
    pool.timeouts = Timeouts(settings.statement_timeout, settings.lock_timeout)
    return pool
