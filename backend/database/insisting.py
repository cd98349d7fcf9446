"""Calls that are tried again for a while, because their user would be worse off with an error."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from backend.database.backoff import Backoff
from backend.errors import DatabaseUnavailable

T = TypeVar("T")


async def insist(run: Callable[[], Awaitable[T]], seconds: float) -> T:
    """The first result of `run`, however often it must run. Raises the last DatabaseUnavailable."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    backoff = Backoff(cap=1.0)
    while True:
        try:
            return await run()
        except DatabaseUnavailable:
            delay = backoff.next_delay()
            if loop.time() + delay >= until:
                raise
        await asyncio.sleep(delay)
