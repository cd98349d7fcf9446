"""Shares: one user runs some of the inspections at once, waits for a few more, and gets 429 for the rest.

The workers are taken in the order of asking. A user asks for no more than their share at once, so that the
inspection of another waits for at most one job of each user.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from msgspec import Struct

from backend.errors import Throttled

RETRY_SECONDS = 3.0


class Share(Struct):
    running: asyncio.Semaphore
    jobs: int = 0  # running and waiting


class Shares:
    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._at_once = at_once
        self._most = at_once + waiting
        self._shares: dict[Hashable, Share] = {}

    @asynccontextmanager
    async def of(self, user: Hashable) -> AsyncIterator[None]:
        """Raises Throttled where the user's share and waiting places are taken."""
        share = self._shares.setdefault(user, Share(asyncio.Semaphore(self._at_once)))
        if share.jobs >= self._most:
            raise Throttled(
                "Too many of your samples are being inspected.",
                code="too_many_inspections",
                help="Wait until one of them is done.",
                extra={"limit": self._most},
                retry_after=RETRY_SECONDS,
            )
        share.jobs += 1
        try:
            async with share.running:
                yield
        finally:
            share.jobs -= 1
            if not share.jobs:
                del self._shares[user]
