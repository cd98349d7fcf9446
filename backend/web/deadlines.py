"""Deadlines: how long a request waits for its client. All of them are shortened when the process stops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

STOPPING_SECONDS = 1.0  # for a client to send, or to read, what a stopping process waits for


class ClientDeadlines:
    """The waits for clients that run now, so that no stalled client delays a shutdown."""

    def __init__(self) -> None:
        self._running: set[asyncio.Timeout] = set()
        self._closed = False

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Raises TimeoutError after so long, or a moment after `close`."""
        async with asyncio.timeout(min(seconds, STOPPING_SECONDS) if self._closed else seconds) as deadline:
            self._running.add(deadline)
            try:
                yield
            finally:
                self._running.discard(deadline)

    def close(self) -> None:
        self._closed = True
        soon = asyncio.get_running_loop().time() + STOPPING_SECONDS
        for deadline in self._running:
            when = deadline.when()
            if not deadline.expired() and (when is None or when > soon):
                deadline.reschedule(soon)
