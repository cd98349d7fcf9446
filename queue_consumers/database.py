"""Connections to Postgres that notice an outage soon, and come back by themselves."""

import psycopg
from psycopg_pool import AsyncConnectionPool

from backend.database.connections import WarmPool, session_options
from backend.settings.database import DatabaseSettings

WAKE_CHANNEL = "voice_clone_wake"
APPLICATION_NAME = "queue_consumers"


def open_pool(settings: DatabaseSettings, queues: int) -> AsyncConnectionPool:
    """Not connected yet: a Postgres that is down at start is waited for like one that goes down later."""
    return WarmPool(
        settings.url,
        kwargs=session_options(settings, APPLICATION_NAME),
        min_size=min(2, settings.pool_size),
        max_size=max(2, min(settings.pool_size, 4 * queues)),
        timeout=5.0,
        reconnect_timeout=4.0,  # then given up until the next request, so that a delay never grows long
        open=False,
    )


def is_transient(error: psycopg.Error) -> bool:
    """Whether the same statement may succeed soon: an outage, a deadlock, too many connections."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(("08", "40", "53", "57P"))
