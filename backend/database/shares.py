"""Shares of the pool: each kind of work has so many connections at most, and so has each user's writes.

A statement may wait for a locked row, with its connection. So only a share of the pool can wait for one row.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backend.errors import DatabaseUnavailable

# Of the pool, rounded down. Reads wait for no row; what is left for them is never taken by the others.
SHARES = {"reads": 3 / 4, "writes": 3 / 8, "steps": 3 / 8, "revocations": 1 / 8}
SHARE_OF_OWNER = 1 / 3  # of the share, for the writes of one user


class Share:
    """`owner`: the user whose rows a statement changes, where it changes any."""

    def __init__(self, connections: int, seconds: float, part_of_owner: float = SHARE_OF_OWNER) -> None:
        """`seconds`: how long a statement waits for its turn."""
        self.connections = connections
        self._connections_of_owner = max(1, int(connections * part_of_owner))
        self._seconds = seconds
        self._used = 0
        self._used_by: Counter[object] = Counter()
        self._waiting: list[tuple[object, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, owner: object = None) -> AsyncIterator[None]:
        """Raises DatabaseUnavailable where none is free in time."""
        if self._is_free(owner):
            self._take(owner)
        else:
            await self._wait(owner)
        try:
            yield
        finally:
            self._give(owner)

    def _is_free(self, owner: object) -> bool:
        if self._used >= self.connections:
            return False
        return owner is None or self._used_by[owner] < self._connections_of_owner

    def _take(self, owner: object) -> None:
        self._used += 1
        self._used_by[owner] += 1

    def _give(self, owner: object) -> None:
        self._used -= 1
        self._used_by[owner] -= 1
        if not self._used_by[owner]:
            del self._used_by[owner]
        for each in self._waiting:
            if not each[1].done() and self._is_free(each[0]):
                self._waiting.remove(each)
                self._take(each[0])
                each[1].set_result(None)
                return

    async def _wait(self, owner: object) -> None:
        """The first that waits and may start gets what becomes free."""
        waiting = (owner, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(self._seconds):
                await waiting[1]
        except BaseException as error:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            elif waiting[1].done() and not waiting[1].cancelled():
                self._give(owner)  # it got its turn in the same moment
            if isinstance(error, TimeoutError):
                raise DatabaseUnavailable(internal="no connection of this share was free in time") from error
            raise


def share_pool(pool_size: int, seconds: float) -> dict[str, Share]:
    """A read waits for no row, so it may use all of its share."""
    return {
        name: Share(max(1, int(pool_size * part)), seconds, 1 if name == "reads" else SHARE_OF_OWNER)
        for name, part in SHARES.items()
    }
