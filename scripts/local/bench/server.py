"""The service as it is, with one more route: the floor of a request that asks the database one thing."""

import os

from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server
from litestar import Litestar, get
from litestar.di import NamedDependency

from backend.__main__ import MOST_CONNECTIONS, allow_many_files
from backend.app import ROUTES, create_app
from backend.database.pool import Database


@get("/bench/select-1")
async def select_one(database: NamedDependency[Database]) -> dict[str, int]:
    return {"one": await database.fetch_value("select 1", of=int) or 0}


def create_bench_app() -> Litestar:
    return create_app(routes=[*ROUTES, select_one])


if __name__ == "__main__":
    allow_many_files()
    Server(
        "scripts.local.bench.server:create_bench_app",
        factory=True,
        interface=Interfaces.ASGI,
        address="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop=Loops.uvloop,
        log_level=LogLevels.warning,
        log_access=False,
        websockets=False,
        backpressure=MOST_CONNECTIONS,
    ).serve()
