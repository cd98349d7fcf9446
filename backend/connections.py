"""How connections to Postgres are made, and lent."""

from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from backend.settings import DatabaseSettings

C = TypeVar("C", bound=AsyncConnection[Any])

CONNECT_SECONDS = 3
# A dropped network is noticed within about 20 seconds, not after the two hours of TCP's defaults.
KEEPALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


def session_options(settings: DatabaseSettings, application_name: str) -> dict[str, Any]:
    """Of every connection of ours, pooled or listening."""
    return {
        "autocommit": True,
        "prepare_threshold": settings.prepare_threshold,
        "connect_timeout": CONNECT_SECONDS,
        "application_name": application_name,
        **KEEPALIVE,
    }


class WarmPool(AsyncConnectionPool[C]):
    """Lends the connection that came back last, whose server has the plans and the pages in its caches.

    psycopg's own lends the one that came back first, so that a trickle of requests visits each in turn.
    It has no setting for that; a test holds this override to what it promises.
    """

    async def _get_ready_connection(self, timeout: float | None) -> C | None:  # noqa: ASYNC109 - as psycopg's
        if self._pool:
            self._pool.rotate(1)
        return await super()._get_ready_connection(timeout)
