"""The lease of an inspection: one inspection of an upload at a time, over all processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.errors import AppError, Conflict
from backend.web.logs import log

queries = load_queries(__file__)
RENEW_SECONDS = 10.0  # of the 30 in voice_clone.timeouts
POLL_SECONDS = 0.25  # while another process inspects the same upload


class Lease(Struct, frozen=True):
    context: AppContext
    attempt_id: UUID
    epoch: int

    @property
    def _parameters(self) -> dict[str, Any]:
        return {"attempt": self.attempt_id, "epoch": self.epoch}

    async def renew(self) -> bool:
        """False where another call has taken over."""
        return bool(await self.context.database.fetch_value(queries.renew, self._parameters, of=bool))

    async def end(self) -> None:
        try:
            await self.context.database.execute(queries.end, self._parameters)
        except AppError as error:  # it ends by itself
            log.warning("inspection_not_ended", code=error.code, internal=error.internal)


@asynccontextmanager
async def inspection_lease(context: AppContext, attempt_id: UUID, user_id: UUID) -> AsyncIterator[Lease]:
    """Authorises the inspection first: the attempt is open, its consent is valid, it has a voice slot.

    Waits for another process that inspects the same upload, at most as long as finalize waits; then Conflict
    `inspection_in_progress`. Raises IllegalTransition where the attempt does not await its upload any more.
    """
    lease = Lease(context, attempt_id, await begin(context, attempt_id, user_id))
    renewing = asyncio.create_task(keep(lease))
    try:
        yield lease
    finally:
        renewing.cancel()
        await asyncio.shield(lease.end())


async def begin(context: AppContext, attempt_id: UUID, user_id: UUID) -> int:
    clock = asyncio.get_running_loop().time
    until = clock() + context.settings.attempts.finalize_wait
    parameters = {"attempt": attempt_id, "user": user_id}
    while True:
        try:
            return await context.database.fetch_value(queries.begin, parameters, of=int) or 0
        except Conflict as error:
            if error.code != "inspection_in_progress" or clock() >= until:
                raise
        await asyncio.sleep(POLL_SECONDS)


async def keep(lease: Lease) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            if not await lease.renew():
                return
        except AppError as error:  # the next one may come in time
            log.warning("inspection_not_renewed", code=error.code, internal=error.internal)
