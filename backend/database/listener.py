"""LISTEN over one session connection that is reopened when it breaks."""

import asyncio
from collections.abc import Callable
from typing import Never

import psycopg
import structlog

from backend.database.backoff import Backoff
from backend.database.connections import CONNECT_SECONDS, session_options
from backend.database.timeouts import time_limit
from backend.settings.database import DatabaseSettings

log = structlog.get_logger("likeness")

CHECK_SECONDS = 30.0  # a silent connection is checked this often
RECONNECT_CAP = 1.0  # seconds; one connection of each process, so there is no herd


async def listen(
    settings: DatabaseSettings,
    channel: str,
    application_name: str,
    on_notify: Callable[[str], None],
    on_listening: Callable[[], None],
) -> Never:
    """Call `on_notify` with the payload of each notification, and `on_listening` after each (re)connect.

    Notifications that were sent while disconnected are lost: `on_listening` must read the state again.
    """
    backoff = Backoff(cap=RECONNECT_CAP)
    url = settings.listen_url or settings.url
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(
                url, **session_options(settings, application_name)
            )
            async with connection:
                with time_limit(connection, CONNECT_SECONDS):
                    await connection.execute(f"listen {channel}".encode())
                log.info("listening", channel=channel)
                backoff.reset()
                on_listening()
                while True:
                    async for notification in connection.notifies(timeout=CHECK_SECONDS):
                        on_notify(notification.payload)
                    with time_limit(connection, CONNECT_SECONDS):
                        await connection.execute("select 1")
        except psycopg.Error as error:
            delay = backoff.next_delay()
            if backoff.is_news():
                log.warning("listen_failed", channel=channel, error=type(error).__name__)
            await asyncio.sleep(delay)
