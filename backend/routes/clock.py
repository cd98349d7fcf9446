"""What a clock calls where no consumer is resident, as pg_cron with pg_net: sweep, and drain a queue."""

from typing import Annotated

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from backend.auth import require_internal
from backend.database import Database
from backend.draining import Drained, Drainer, queries
from backend.telemetry import log


class Sweep(Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 500  # attempts in one run


class Drain(Struct, frozen=True, kw_only=True):
    seconds: Annotated[float, Meta(gt=0, le=300)] = 20.0


class Count(Struct, frozen=True):
    what: str
    count: int


class ClockController(Controller):
    path = "/internal"
    guards = (require_internal,)
    include_in_schema = False

    @post("/recover-stale", status_code=200)
    async def recover_stale(
        self, data: JSONBody[Sweep], database: NamedDependency[Database]
    ) -> dict[str, int]:
        """Counts by what was done: expired, sent, given_back, failed, …; empty where nothing was due."""
        rows = await database.fetch_all(queries.recover_stale, {"limit": data.limit}, row=Count)
        done = {row.what: row.count for row in rows}
        if "troubled" in done:
            log.error("not_recovered", **done, help="Postgres's log names each attempt and its error.")
        return done

    @post("/queues/{queue:str}/drain", status_code=200)
    async def drain(
        self, queue: FromPath[str], data: JSONBody[Drain], drainer: NamedDependency[Drainer]
    ) -> Drained:
        return await drainer.drain(queue, data.seconds)
