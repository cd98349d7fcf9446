"""Connections to Postgres that notice an outage soon, and come back by themselves."""

import asyncio
from collections.abc import Callable
from typing import Any, Never

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from backend.settings import DatabaseSettings
from queue_consumers.backoff import Backoff

log = structlog.get_logger("queue_consumers")

WAKE_CHANNEL = "voice_clone_wake"
CHECK_SECONDS = 30.0  # a silent listening connection is tried this often

# A dropped network is noticed within about 20 seconds, not after the two hours of TCP's defaults.
KEEPALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


def connection_options(settings: DatabaseSettings) -> dict[str, Any]:
    return {
        "autocommit": True,
        "prepare_threshold": settings.prepare_threshold,
        "connect_timeout": 5,
        "application_name": "queue_consumers",
        **KEEPALIVE,
    }


def open_pool(settings: DatabaseSettings, queues: int) -> AsyncConnectionPool:
    """Not connected yet: a Postgres that is down at start is waited for like one that goes down later."""
    return AsyncConnectionPool(
        settings.url,
        kwargs=connection_options(settings),
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


async def listen(url: str, settings: DatabaseSettings, on_wake: Callable[[], None]) -> Never:
    """Call `on_wake` for every notification, over one session connection that is reopened when it breaks."""
    backoff = Backoff()
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(url, **connection_options(settings))
            async with connection:
                await connection.execute(f"listen {WAKE_CHANNEL}")
                log.info("listening")
                backoff.reset()
                on_wake()  # for whatever came while nobody listened
                while True:
                    async for _ in connection.notifies(timeout=CHECK_SECONDS):
                        on_wake()
                    await connection.execute("select 1")
        except psycopg.Error as error:
            delay = backoff.next_delay()
            log.warning("not listening", error=type(error).__name__, again_in=round(delay, 2))
            await asyncio.sleep(delay)
