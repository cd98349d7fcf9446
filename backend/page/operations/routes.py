"""The operator's page and what it reads and does. The routes exist where OPERATIONS_PAGE is true."""

from html import escape
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from backend.database.pool import Database, required
from backend.errors import NotFound
from backend.page.files import FOLDER as SHARED
from backend.page.files import PageFile, make_file
from backend.page.operations.access import ACTS, Operator, require_operator
from backend.page.operations.findings import explain
from backend.page.operations.overview import Overviews, queries
from backend.page.routes import answer_file, page_headers
from backend.settings import Settings
from backend.web.contract import NO_DATABASE
from backend.web.logs import log

FOLDER = Path(__file__).parent / "static"
SHARED_FILES = ("dom.js", "icon.svg", "page.css", "session.js")  # with the page at /
SWEPT = 500  # rows of one sweep
MOST_LETTERS = 100  # of one call


class Letters(Struct, frozen=True):
    ids: Annotated[list[int], Meta(min_length=1, max_length=MOST_LETTERS)]


class SentLetter(Struct, frozen=True):
    id: int
    queue: str
    subject: str | None


class Retried(Struct, frozen=True):
    id: UUID
    status: str
    runtime_status: str
    preview_status: str


class Swept(Struct, frozen=True):
    what: str
    count: int


class OperationsController(Controller):
    path = "/operations"
    guards = (require_operator,)
    include_in_schema = False

    @get("/access", opt={NO_DATABASE: True})
    async def show_access(self, request: Request[Any, Any, Any]) -> Operator:
        """For the sign-in: who this is, and whether commands are allowed."""
        return operator_of(request)

    @get("/state")
    async def show_state(self, overviews: NamedDependency[Overviews]) -> Response[bytes]:
        return as_json(await overviews.state.read())

    @get("/series")
    async def show_series(self, overviews: NamedDependency[Overviews]) -> Response[bytes]:
        return as_json(await overviews.series.read())

    @get("/attempts/{attempt_id:uuid}")
    async def show_attempt(
        self, attempt_id: FromPath[UUID], database: NamedDependency[Database]
    ) -> Response[bytes]:
        found = await database.reads.fetch_value(queries.attempt, {"attempt": attempt_id}, of=dict[str, Any])
        if found is None:
            raise NotFound("There is no such attempt.", field="attempt_id")
        explanation = explain(found["finding"]["finding"], found)
        return as_json(msgspec.json.encode({**found, "explanation": explanation}))

    @post("/attempts/{attempt_id:uuid}/retry", status_code=200, opt={ACTS: True})
    async def retry_attempt(
        self,
        attempt_id: FromPath[UUID],
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        overviews: NamedDependency[Overviews],
    ) -> Retried:
        retried = required(await database.fetch_one(queries.retry, {"attempt": attempt_id}, row=Retried))
        note(request, overviews, "retry", attempt_id=str(attempt_id))
        return retried

    @post("/dead-letters/redrive", status_code=200, opt={ACTS: True})
    async def redrive(
        self,
        data: JSONBody[Letters],
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        overviews: NamedDependency[Overviews],
    ) -> list[SentLetter]:
        """Those that this call sent: a letter that another call sent is not among them."""
        sent = await database.fetch_all(queries.redrive, {"ids": data.ids}, row=SentLetter)
        note(request, overviews, "redrive", letters=[each.id for each in sent])
        return sent

    @post("/sweep", status_code=200, opt={ACTS: True})
    async def sweep(
        self,
        request: Request[Any, Any, Any],
        database: NamedDependency[Database],
        overviews: NamedDependency[Overviews],
    ) -> dict[str, int]:
        rows = await database.steps.fetch_all(queries.sweep, {"limit": SWEPT}, row=Swept)
        done = {row.what: row.count for row in rows}
        note(request, overviews, "sweep", swept=done)
        return done


def operator_of(request: Request[Any, Any, Any]) -> Operator:
    return request.scope["state"]["operator"]


def note(request: Request[Any, Any, Any], overviews: Overviews, command: str, **details: object) -> None:
    log.info("operator_acted", command=command, operator=operator_of(request).name, **details)
    overviews.forget()


def as_json(content: bytes) -> Response[bytes]:
    return Response(content, media_type="application/json")


def operations_routes(settings: Settings) -> list[ControllerRouterHandler]:
    if not settings.server.operations_page:
        return []
    files = read_files(settings)
    headers = page_headers(settings.supabase.url)

    @get("/operations", include_in_schema=False, sync_to_thread=False)
    def read_operations_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return answer_file(files["operations.html"], request, {**headers, "cache-control": "no-store"})

    @get("/operations/page/{name:str}", include_in_schema=False, sync_to_thread=False)
    def read_operations_file(name: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
        if name not in files or name == "operations.html":
            raise NotFoundException
        return answer_file(files[name], request, headers)

    return [read_operations_page, read_operations_file, OperationsController]


def read_files(settings: Settings) -> dict[str, PageFile]:
    """By name. The document gets the address of the project, for a user's session, and its public key."""
    paths = [*FOLDER.iterdir(), *(SHARED / name for name in SHARED_FILES)]
    files = {each.name: make_file(each.suffix, each.read_bytes()) for each in paths}
    document = files["operations.html"].plain.decode()
    supabase = settings.supabase
    for name, value in (("supabase-url", supabase.url), ("publishable-key", supabase.publishable_key)):
        document = document.replace(f'data-{name}=""', f'data-{name}="{escape(value)}"')
    return {**files, "operations.html": make_file(".html", document.encode())}
