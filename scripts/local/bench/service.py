"""The service with one more route: the floor of a request that reads one value from the database."""

from litestar import Litestar, get
from litestar.di import NamedDependency

from backend.app.service import ROUTES, create_app
from backend.database.pool import Database


@get("/bench/select-1")
async def select_one(database: NamedDependency[Database]) -> dict[str, int]:
    return {"one": await database.fetch_value("select 1", of=int) or 0}


def create_bench_app() -> Litestar:
    return create_app(routes=[*ROUTES, select_one])
