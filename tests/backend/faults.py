"""`python -m tests.backend.faults PORT`: the real application with extra routes that fail."""

import asyncio
import sys
from collections.abc import Iterator

from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from backend.app.service import ROUTES, create_app
from backend.database.pool import Database
from backend.errors import AppError
from backend.providers.base import ErrorKind, ProviderError
from backend.storage.client import StorageRefused

SECRET = "sb_secret_0123456789abcdef"
PASSWORD = "hunter2-hunter2"


class Owner(Struct):
    name: str


class Order(Struct, forbid_unknown_fields=True):
    count: int
    owner: Owner


class Unspeakable:
    """A type that no encoder supports."""


def kinds(of: type[AppError] = AppError) -> Iterator[type[AppError]]:
    """Every error class of the application, by name."""
    yield of
    for each in of.__subclasses__():
        yield from kinds(each)


class FaultsController(Controller):
    path = "/faults"

    @get("/errors/{name:str}")
    async def raise_error(self, name: FromPath[str]) -> None:
        kind = {each.__name__: each for each in kinds()}[name]
        if issubclass(kind, StorageRefused):
            raise kind(400, "InvalidKey", f"PUT /object?token={SECRET}")
        raise kind(field="sample", help="Try another.", extra={"least": 3}, internal=f"sent with {SECRET}")

    @get("/providers/{kind:str}")
    async def raise_provider_error(self, kind: FromPath[str]) -> None:
        raise ProviderError(
            ErrorKind(kind),
            "told_by_us",
            "The provider could not do it.",
            provider="qwen",
            status=418,
            provider_code=f"Internal.{SECRET}",
            request_id="provider-request-1",
            retry_after=7 if kind == "throttled" else None,
        )

    @get("/crash")
    async def crash(self) -> None:
        raise ZeroDivisionError(f"while holding {SECRET} for postgresql://likeness:{PASSWORD}@db/postgres")

    @get("/unspeakable")
    async def answer_nonsense(self) -> Unspeakable:
        return Unspeakable()

    @post("/orders")
    async def order(self, data: JSONBody[Order]) -> None: ...

    @get("/pages/{number:int}")
    async def page(self, number: FromPath[int], size: FromQuery[int]) -> None: ...

    @get("/sql/{statement:str}")
    async def run_sql(self, statement: FromPath[str], database: NamedDependency[Database]) -> None:
        await database.execute(STATEMENTS[statement])


def raising(state: str, detail: str = "") -> str:
    using = f"errcode = '{state}', hint = 'Look again.', detail = '{detail}'"
    return f"do $$ begin raise exception 'Not like this.' using {using}; end $$"


def foreign_key(columns: str) -> str:
    constraint = f"table = 'orders', constraint = 'orders_{columns}_fkey'"
    return f"do $$ begin raise exception 'Gone.' using errcode = '23503', {constraint}; end $$"


STATEMENTS = {
    **{state: raising(state) for state in ("VC001", "VC002", "VC003", "VC004", "VC005", "VC006", "VC007")},
    "VC008": raising("VC008", '{"retry_after": 9}'),
    "refined": raising(
        "VC007", '{"code": "sample_in_use", "field": "sample_id", "help": "Wait.", "status": "queued"}'
    ),
    **{state: raising(state) for state in ("XX000", "23514", "22003")},
    **{
        column: foreign_key(column)
        for column in ("user_id", "reflection_id", "reflection_id_user_id", "consent_id_user_id", "other_id")
    },
    "deadlock": raising("40P01"),
    "shutdown": raising("57P01"),
    "ours": f"select '{SECRET}' from public.no_such_table",  # noqa: S608 - a secret in a statement is the point
    "fine": "select 1",
}


if __name__ == "__main__":
    application = create_app(routes=[*ROUTES, FaultsController])
    server = Server(application, port=int(sys.argv[1]), interface=Interfaces.ASGI, log_enabled=False)
    asyncio.run(server.serve())
