"""How connections to Postgres are opened, and checked out of a pool.

NOTIFY takes a lock of the whole cluster until its commit is on disk. So a pooled connection receives the
notifications of its statements as notices. It sends them after the commit, in a transaction that does not
wait for the disk.
"""

import asyncio
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import Diagnostic
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg_pool import AsyncConnectionPool

from backend.database.timeouts import Timeouts, time_limit
from backend.settings.database import DatabaseSettings

C = TypeVar("C", bound=AsyncConnection[Any])

CONNECT_SECONDS = 3
# A dropped network is noticed within about 20 seconds, not after the two hours of TCP's defaults.
KEEPALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}

NOTIFICATION = "VCN01"  # the state of a notice that is a notification: its detail is the channel
AFTER_COMMIT = "set_config('voice_clone.notify_after_commit', 'on', false)"
SEND = b"select voice_clone.send_notifications(%s::text[], %s::text[])"

TRACE = b"select set_config('voice_clone.traceparent', %s, true)"

Notifications = set[tuple[str, str]]  # channel, payload
_pending: WeakKeyDictionary[AsyncConnection[Any], Notifications] = WeakKeyDictionary()


def session_options(settings: DatabaseSettings, application_name: str) -> dict[str, Any]:
    """For every connection, pooled or listening."""
    return {
        "autocommit": True,
        "prepare_threshold": settings.prepare_threshold,
        "connect_timeout": CONNECT_SECONDS,
        "application_name": application_name,
        **KEEPALIVE,
    }


class WarmPool(AsyncConnectionPool[C]):
    """Checks out the most recently returned connection: its server process has warm caches.

    psycopg's own pool checks out the least recently returned one, so few requests visit each in turn.
    It has no setting for that; a test verifies this override.
    """

    timeouts = Timeouts()

    async def _get_ready_connection(self, timeout: float | None) -> C | None:  # noqa: ASYNC109 - as psycopg's
        if self._pool:
            self._pool.rotate(1)
        return await super()._get_ready_connection(timeout)


@asynccontextmanager
async def checkout(pool: AsyncConnectionPool[C]) -> AsyncIterator[C]:
    """An autocommit connection that was alive at checkout, even after Postgres restarted.

    The pool's own check waits about a second after each dead connection.
    """
    connection = await get_connection(pool)
    while not is_alive(connection):  # nothing was sent on it, so no statement is repeated
        await connection.close()
        await pool.putconn(connection)
        connection = await get_connection(pool)
    timeouts = pool.timeouts if isinstance(pool, WarmPool) else Timeouts()
    try:
        with time_limit(connection, timeouts.checkout):
            pending = await prepare_session(connection, timeouts)
            yield connection
            await send_notifications(connection, pending)
    finally:
        await pool.putconn(connection)


@asynccontextmanager
async def sending_in_trace(connection: AsyncConnection[Any], traceparent: str | None) -> AsyncIterator[None]:
    """Messages that the statements of the block send carry it. The block is one transaction."""
    if traceparent is None:
        yield
        return
    async with connection.pipeline():
        await connection.execute(TRACE, (traceparent,))
        yield


async def get_connection(pool: AsyncConnectionPool[C]) -> C:
    """`pool.getconn()`, which loses a cancellation that arrives together with the connection.

    It uses `asyncio.wait_for`, which did so before Python 3.12. The task would run on as if never cancelled.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    connection = await pool.getconn()
    if task is not None and task.cancelling() > before:
        await pool.putconn(connection)
        raise asyncio.CancelledError
    return connection


async def prepare_session(connection: AsyncConnection[Any], timeouts: Timeouts) -> Notifications:
    """What the next statements notify is collected here. Once for each connection, with its timeouts."""
    pending = _pending.get(connection)
    if pending is None:
        pending = _pending[connection] = set()
        collected = pending

        def collect(notice: Diagnostic) -> None:
            if notice.sqlstate == NOTIFICATION:
                collected.add((notice.message_detail or "", notice.message_primary or ""))

        connection.add_notice_handler(collect)
        await connection.execute(f"select {AFTER_COMMIT}, {timeouts.set_config()}".encode())
    pending.clear()
    return pending


async def send_notifications(connection: AsyncConnection[Any], pending: Notifications) -> None:
    """Each once. One that is lost is made up for by the next poll."""
    if not pending or connection.info.transaction_status is not TransactionStatus.IDLE:
        return
    channels, payloads = zip(*sorted(pending), strict=True)
    with suppress(psycopg.Error):
        await connection.execute(SEND, (list(channels), list(payloads)))


def is_alive(connection: AsyncConnection[Any]) -> bool:
    """Whether the connection is open, without a round trip: an idle socket is readable only once closed."""
    socket = connection.pgconn.socket
    if not is_readable(socket):
        return True
    try:
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return connection.pgconn.status == ConnStatus.OK and not is_readable(socket)


def is_readable(socket: int) -> bool:
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))
