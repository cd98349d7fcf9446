"""Idempotency-Key: a POST that is sent again, after a lost answer or a crash, creates nothing twice.

A route opts in with one word, `@post(…, middleware=IDEMPOTENT)`, and makes what it creates by `once`, with
`new_id` where the service chooses the id. A call without the header goes straight through.

The key is claimed before the work. What the work creates is kept with the key in the work's own transaction,
so that whoever takes over after a crash is given the same row. The answer is kept last, and replayed.
"""

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

from backend.database.pool import Database
from backend.database.queries import load_queries
from backend.errors import AppError, InvalidInput
from backend.web.authentication import require_user
from backend.web.logs import log

T = TypeVar("T")
queries = load_queries(__file__)

HEADER = b"idempotency-key"
KEY = re.compile(rb"[ -~]{1,255}")
REPLAYED = (b"idempotency-replayed", b"true")
MULTIPART = "multipart/form-data"
CHUNK = 1 << 18  # bytes


class Claim(Struct, frozen=True, kw_only=True):
    """A key that this call holds, or the answer that an earlier one gave."""

    id: UUID
    epoch: int
    result: dict[str, Any] | None  # what an earlier call created before it broke off
    status: int | None
    headers: list[tuple[str, str]] | None
    body: bytes | None


_claim: ContextVar[Claim | None] = ContextVar("idempotency_claim", default=None)


def new_id() -> UUID:
    """For the one thing that a request creates: the same id each time the request comes."""
    claim = _claim.get()
    return claim.id if claim else uuid4()


async def once(
    database: Database, statement: str, parameters: Mapping[str, Any], *, row: type[T]
) -> T | None:
    """The row that the statement makes. Under a key it is made once, whatever breaks off after it."""
    claim = _claim.get()
    if claim is None:
        return await database.fetch_one(statement, parameters, row=row)
    if claim.result is not None:
        return msgspec.convert(claim.result, row)
    async with database.transaction() as transaction:
        made = await transaction.fetch_one(statement, parameters)
        if made is not None:
            kept = {"id": claim.id, "epoch": claim.epoch, "result": Jsonb(made)}
            await transaction.execute(queries.keep_result, kept)
    return None if made is None else msgspec.convert(made, row)


class Answer:
    """What a route sends, held back until it is kept."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def take(self, message: Message) -> None:
        self.messages.append(message)

    async def give(self, send: Send) -> None:
        for message in self.messages:
            await send(message)

    def to_keep(self) -> dict[str, Any]:
        """Nothing of one that asks for the same call again: a fault of ours, or a wait."""
        start: Any = self.messages[0]
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
        if start["status"] >= 500 or any(name.lower() == "retry-after" for name, _ in headers):
            return {"status": None, "headers": None, "body": None}
        body = b"".join(message.get("body", b"") for message in self.messages[1:])
        return {"status": start["status"], "headers": Jsonb(headers), "body": body}


class Idempotency:
    """Around one route. Guards run inside of it, so it asks who calls by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in scope["headers"]:
            if name == HEADER:
                return await self._call_once(value, scope, receive, send)
        return await self.app(scope, receive, send)

    async def _call_once(self, value: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request[Any, Any, Any](scope, receive, send)
        await require_user(request, request.route_handler)
        key = checked_key(value)
        form = await request.form() if request.content_type[0] == MULTIPART else FormMultiDict()
        database: Database = request.app.state.database
        try:
            claim = await claim_key(database, request, key, form)
            if claim.status is not None:
                await replay(claim, send)
                return
            answer = await self._answer(claim, scope, receive)
        finally:
            await form.close()
        await keep(database, claim, answer)
        await answer.give(send)

    async def _answer(self, claim: Claim, scope: Scope, receive: Receive) -> Answer:
        answer = Answer()
        restore = _claim.set(claim)
        try:
            await self.app(scope, receive, answer.take)
        finally:
            _claim.reset(restore)
        return answer


IDEMPOTENT = [Idempotency]


def checked_key(value: bytes) -> str:
    if not KEY.fullmatch(value):
        raise InvalidInput(
            "An idempotency key has 1 to 255 characters, all of them printable ASCII.",
            code="idempotency_key_invalid",
            field="Idempotency-Key",
            help="A UUID does well.",
        )
    return value.decode()


async def claim_key(
    database: Database, request: Request[Any, Any, Any], key: str, form: FormMultiDict
) -> Claim:
    """Raises Conflict where the key was used for another call, or its first call is being answered."""
    parameters = {"user": request.user.user_id, "key": key, "fingerprint": await fingerprint(request, form)}
    claim = await database.fetch_one(queries.claim, parameters, row=Claim)
    assert claim is not None  # noqa: S101 - the function returns its row or raises
    return claim


async def keep(database: Database, claim: Claim, answer: Answer) -> None:
    parameters = {"id": claim.id, "epoch": claim.epoch, **answer.to_keep()}
    try:
        await database.execute(queries.keep_answer, parameters)
    except AppError as error:  # the next call with this key takes over, and is given the same row
        log.warning("answer_not_kept", code=error.code, internal=error.internal)


async def replay(claim: Claim, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in claim.headers or ()]
    await send({
        "type": "http.response.start", "status": claim.status or 200, "headers": [*headers, REPLAYED],
    })  # fmt: skip
    await send({"type": "http.response.body", "body": claim.body or b"", "more_body": False})


async def fingerprint(request: Request[Any, Any, Any], form: FormMultiDict) -> bytes:
    """The same for the same call: JSON however it is spelt, a form whatever its boundary.

    The route finds its body read, and a form's file at its start, in the spool where it is kept anyway.
    """
    digest = sha256()
    scope = request.scope
    parts = [request.method.encode(), scope["path"].encode(), scope["query_string"]]
    kind = request.content_type[0]
    if kind == MULTIPART:
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
