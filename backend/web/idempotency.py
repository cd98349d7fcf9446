"""Idempotency-Key: a POST that is retried, after a lost response or a crash, creates nothing twice.

A route opts in with `@post(…, middleware=IDEMPOTENT)`. It inserts its row with `once`, and takes the row's id
from `new_id` where the service chooses it. A request without the header passes unchanged.

The key is claimed before the route runs. The row is stored with the key in the route's own transaction, so
that the retry after a crash returns the same row. The response is stored last, and replayed.
"""

import asyncio
import re
from collections.abc import Mapping
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID, uuid4

import msgspec
from litestar import Request
from litestar.datastructures import FormMultiDict, UploadFile
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from msgspec import Struct
from psycopg.types.json import Jsonb

from backend.database.pool import Database, repeat_once, required
from backend.database.queries import load_queries
from backend.errors import AppError, InvalidInput
from backend.web.authentication import require_user
from backend.web.logs import log
from backend.web.request_bounds import TAKES_SAMPLE
from backend.web.requests import BoundedRequest

T = TypeVar("T")
queries = load_queries(__file__)

HEADER = b"idempotency-key"
LONGEST_KEY = 255
KEY = re.compile(rb"[ -~]{1,%d}" % LONGEST_KEY)
REPLAYED = (b"idempotency-replayed", b"true")
MULTIPART = "multipart/form-data"
CHUNK = 1 << 18  # bytes
LARGEST_ANSWER = 65_536  # bytes; the database refuses more
RENEW_SECONDS = 2.0  # a third of the lease: the timeout `idempotency_lease`


class KeyClaim(Struct, frozen=True, kw_only=True):
    """A key that this request holds, or the response that an earlier one got."""

    id: UUID
    epoch: int
    result: dict[str, Any] | None  # the row of an earlier request that crashed after its commit
    status: int | None
    headers: list[tuple[str, str]] | None
    body: bytes | None


_claim: ContextVar[KeyClaim | None] = ContextVar("idempotency_claim", default=None)


def new_id() -> UUID:
    """The id of the row that a request creates: the same id on each retry."""
    claim = _claim.get()
    return claim.id if claim else uuid4()


def has_key() -> bool:
    """Whether the request may be sent again with the same key."""
    return _claim.get() is not None


def has_result() -> bool:
    """Whether an earlier request with this key created its row, which `once` then returns."""
    claim = _claim.get()
    return claim is not None and claim.result is not None


async def once(
    database: Database, statement: str, parameters: Mapping[str, Any], *, row: type[T]
) -> T | None:
    """The row that the statement inserts: once for a key, however often its request is retried."""
    claim = _claim.get()
    if claim is None:
        return await database.fetch_one(statement, parameters, row=row)
    if claim.result is not None:
        return msgspec.convert(claim.result, row)
    made = await repeat_once(lambda: create(database, claim, statement, parameters))
    return None if made is None else msgspec.convert(made, row)


async def create(
    database: Database, claim: KeyClaim, statement: str, parameters: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The row, stored with the key in one transaction."""
    async with database.transaction(owner=parameters.get("user")) as transaction:
        made = await transaction.fetch_one(statement, parameters)
        if made is not None:
            kept = {"id": claim.id, "epoch": claim.epoch, "result": Jsonb(made)}
            await transaction.execute(queries.keep_result, kept)
    return made


class CapturedResponse:
    """The messages of a route, held back until they are stored."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def capture(self, message: Message) -> None:
        self.messages.append(message)

    async def forward(self, send: Send) -> None:
        for message in self.messages:
            await send(message)

    def to_columns(self) -> dict[str, Any]:
        """Nulls for a response that the client should retry: a 5xx, or one with Retry-After; and a large one.

        The next call then runs the route again, with the row that was stored.
        """
        start: Any = self.messages[0]
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
        if start["status"] >= 500 or any(name.lower() == "retry-after" for name, _ in headers):
            return {"status": None, "headers": None, "body": None}
        body = b"".join(message.get("body", b"") for message in self.messages[1:])
        if len(body) > LARGEST_ANSWER:
            return {"status": None, "headers": None, "body": None}
        return {"status": start["status"], "headers": Jsonb(headers), "body": body}


class Idempotency:
    """Middleware of one route. Guards run after it, so it authenticates the caller itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in scope["headers"]:
            if name == HEADER:
                return await self._call_once(value, scope, receive, send)
        return await self.app(scope, receive, send)

    async def _call_once(self, value: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        request = BoundedRequest(scope, receive, send)
        await require_user(request, request.route_handler)
        key = checked_key(value)
        form = await request.form() if reads_form(request) else FormMultiDict()
        database: Database = request.app.state.database
        try:
            claim = await claim_key(database, request, key, form)
            if claim.status is not None:
                await replay(claim, send)
                return
            renewing = asyncio.create_task(renew(database, claim))
            try:
                response = await self._run(claim, scope, receive)
            finally:
                renewing.cancel()
        finally:
            await form.close()
        await store(database, claim, response)
        await response.forward(send)

    async def _run(self, claim: KeyClaim, scope: Scope, receive: Receive) -> CapturedResponse:
        response = CapturedResponse()
        restore = _claim.set(claim)
        try:
            await self.app(scope, receive, response.capture)
        finally:
            _claim.reset(restore)
        return response


IDEMPOTENT = [Idempotency]


def reads_form(request: Request[Any, Any, Any]) -> bool:
    """Where the route reads one. A body that is read as a form here cannot be read as JSON there."""
    is_form = request.content_type[0] == MULTIPART
    return is_form and bool(request.route_handler.opt.get(TAKES_SAMPLE))


def checked_key(value: bytes) -> str:
    if not KEY.fullmatch(value):
        raise InvalidInput(
            f"An idempotency key has 1 to {LONGEST_KEY} characters, all of them printable ASCII.",
            code="idempotency_key_invalid",
            field="Idempotency-Key",
            help="A UUID does well.",
            extra={"limit": LONGEST_KEY},
        )
    return value.decode()


async def claim_key(
    database: Database, request: Request[Any, Any, Any], key: str, form: FormMultiDict
) -> KeyClaim:
    """Raises Conflict when the key belongs to another request, or its first request is still running."""
    parameters = {"user": request.user.user_id, "key": key, "fingerprint": await fingerprint(request, form)}
    return required(await database.fetch_one(queries.claim, parameters, row=KeyClaim))


async def store(database: Database, claim: KeyClaim, response: CapturedResponse) -> None:
    parameters = {"id": claim.id, "epoch": claim.epoch, **response.to_columns()}
    try:
        await database.execute(queries.keep_answer, parameters)
    except AppError as error:  # the next request with this key runs the route and gets the same row
        log.warning("response_not_stored", code=error.code, internal=error.internal)


async def renew(database: Database, claim: KeyClaim) -> None:
    """While the call runs, so that a key whose process was killed is free soon."""
    held: bool | None = True
    while held:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            held = await database.fetch_value(queries.renew, {"id": claim.id, "epoch": claim.epoch}, of=bool)
        except AppError as error:  # the next renewal may still be in time
            log.warning("key_not_renewed", code=error.code, internal=error.internal)


async def replay(claim: KeyClaim, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in claim.headers or ()]
    await send({
        "type": "http.response.start", "status": claim.status or 200, "headers": [*headers, REPLAYED],
    })  # fmt: skip
    await send({"type": "http.response.body", "body": claim.body or b"", "more_body": False})


async def fingerprint(request: Request[Any, Any, Any], form: FormMultiDict) -> bytes:
    """Equal for equal requests: JSON however it is formatted, a form whatever its boundary.

    The route finds the body already read, and each file of a form at its start.
    """
    digest = sha256()
    scope = request.scope
    parts = [request.method.encode(), scope["path"].encode(), scope["query_string"]]
    kind = request.content_type[0]
    if reads_form(request):
        for name, value in sorted(form.multi_items(), key=lambda item: item[0]):
            parts += [name.encode(), await part(value)]
    else:
        parts += [kind.encode(), canonical(await request.body())]
    for each in parts:
        digest.update(len(each).to_bytes(8) + each)
    return digest.digest()


async def part(value: object) -> bytes:
    if not isinstance(value, UploadFile):
        return str(value).encode()
    digest = sha256(value.content_type.encode())
    while chunk := await value.read(CHUNK):
        digest.update(chunk)
    await value.seek(0)
    return digest.digest()


def canonical(body: bytes) -> bytes:
    try:
        return msgspec.json.encode(msgspec.json.decode(body), order="deterministic")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return body
