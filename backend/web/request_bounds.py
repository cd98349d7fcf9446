"""Bounds of a request, checked before it is routed, authenticated or read.

The server bounds the head: its size and how long it may take (`backend/app/server.py`). This module bounds
the address, the method and the body: its size, how long a client may pause in it, and how slow it may be.

docs/decisions/0031-bounds-of-a-request.md
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Litestar
from litestar.exceptions import NotFoundException
from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send, WebSocketReceiveMessage

from backend.errors import (
    AddressTooLong,
    AppError,
    MalformedBody,
    MethodNotAllowed,
    RequestTimeout,
    TooLarge,
    UnsupportedMediaType,
)
from backend.web.deadlines import ClientDeadlines
from backend.web.problems import problem

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
ADDRESS_BYTES = 2048  # path and query
CONTENT_TYPE_BYTES = 256
MULTIPART = b"multipart/form-data"

JSON_BYTES = 65_536
FORM_OVERHEAD = 65_536  # bytes of a form beside the sample in it
SLOWEST = 4096  # bytes a second that a body must come with, after the first pause that is allowed

UNREAD_BYTES = 32 * 1024 * 1024  # of a refused body, which is read on so that the client sees the answer
UNREAD_SECONDS = 5.0

BODY_BYTES = "body_bytes"  # in a route's `opt`: the limit of a body that is a file
MORE_BYTES = "more_bytes"  # in a route's `opt`: of a second file in its form
TAKES_SAMPLE = "takes_sample"  # in a route's `opt`: its form has a sample in it

ReceiveMessage = HTTPReceiveMessage | WebSocketReceiveMessage


class RequestBounds:
    """Outermost. What it refuses by itself is not logged, so that nobody fills the log with it."""

    def __init__(
        self, litestar: Litestar, app: ASGIApp, deadlines: ClientDeadlines, *, pause: float, sample_bytes: int
    ) -> None:
        """`pause`: seconds that a client may send nothing in its body."""
        self._litestar = litestar
        self._app = app
        self._deadlines = deadlines
        self._pause = pause
        self._form_bytes = sample_bytes + FORM_OVERHEAD

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        method: str = scope["method"]
        if method not in METHODS:
            return await refuse(send, MethodNotAllowed(), {b"allow": ", ".join(sorted(METHODS)).encode()})
        if len(scope["raw_path"]) + len(scope["query_string"]) > ADDRESS_BYTES:
            return await refuse(send, AddressTooLong(extra={"limit": ADDRESS_BYTES}))
        if method in BODILESS:
            if method == "OPTIONS" and (allowed := self._allowed(scope)):
                return await answer(send, 204, {b"allow": allowed})
            return await self._app(scope, receive, send)
        headers = {name: value for name, value in scope["headers"] if name in BODY_HEADERS}
        if len(headers.get(b"content-type", b"")) > CONTENT_TYPE_BYTES:
            return await refuse(send, UnsupportedMediaType(extra={"limit": CONTENT_TYPE_BYTES}))
        if b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0":
            return await self._app(scope, receive, send)
        body = BoundedBody(scope, receive, headers, self._deadlines, self._pause, self._form_bytes)
        return await self._app(scope, body.receive, body.send_after(send))

    def _allowed(self, scope: Scope) -> bytes | None:
        """The methods of this address; None for a preflight of CORS, and where nothing is."""
        if any(name == b"access-control-request-method" for name, _ in scope["headers"]):
            return None
        try:
            template = self._litestar.asgi_router.handle_routing(path=scope["path"], method="OPTIONS")[-1]
        except NotFoundException:
            return None
        methods = {
            method
            for route in self._litestar.routes
            if route.path == template or route.path_format == template
            for method in getattr(route, "methods", ())
        }
        return ", ".join(sorted(methods)).encode() or None


BODY_HEADERS = frozenset({b"content-type", b"content-length", b"transfer-encoding", b"expect"})


class BoundedBody:
    """The body of one request. It raises at its first bound, where possible before anything is read."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        deadlines: ClientDeadlines,
        pause: float,
        form_bytes: int,
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._headers = headers
        self._deadlines = deadlines
        self._pause = pause
        self._form_bytes = form_bytes
        self._received = 0
        self._waited = 0.0
        self._more = True

    def _limit(self) -> int:
        """Only the form of a route that takes a sample, or the body of one that takes a file, is large."""
        handler: Any = self._scope.get("route_handler")
        if handler is not None and BODY_BYTES in handler.opt:
            return handler.opt[BODY_BYTES]
        is_form = self._headers.get(b"content-type", b"").lower().startswith(MULTIPART)
        if handler is None or not handler.opt.get(TAKES_SAMPLE) or not is_form:
            return JSON_BYTES
        return self._form_bytes + handler.opt.get(MORE_BYTES, 0)

    async def receive(self) -> ReceiveMessage:
        """Raises TooLarge, RequestTimeout, or MalformedBody where the client left."""
        if not self._more:
            return await self._receive()  # the client's disconnect, which an event stream waits for
        limit = self._limit()
        announced = self._headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced[:20]) > limit:
            raise TooLarge(help=f"Send at most {limit} bytes.", extra={"limit": limit})
        message = await self._next()
        if message["type"] == "http.disconnect":
            raise MalformedBody("The body ended before its end.")
        if self._received > limit:
            raise TooLarge(help=f"Send at most {limit} bytes.", extra={"limit": limit})
        return message

    async def _next(self) -> ReceiveMessage:
        clock = asyncio.get_running_loop().time
        started = clock()
        patience = min(self._pause, self._pause + self._received / SLOWEST - self._waited)
        try:
            async with self._deadlines.within(max(0.0, patience)):
                message = await self._receive()
        except TimeoutError:
            self._more = False  # nothing more is read: the server closes the connection
            raise RequestTimeout from None
        self._waited += clock() - started
        if message["type"] == "http.request":
            self._received += len(message["body"])
        self._more = message["type"] == "http.request" and message["more_body"]
        return message

    def send_after(self, send: Send) -> Send:
        """Before the answer starts, read on for a while: a client that still sends would not see it."""

        async def send_after_body(message: Message) -> None:
            if self._more and message["type"] == "http.response.start":
                await self._read_on()
            await send(message)

        return send_after_body

    async def _read_on(self) -> None:
        announced = self._headers.get(b"content-length", b"")
        is_held_back = b"expect" in self._headers and not self._received
        if is_held_back or (announced.isdigit() and int(announced[:20]) > UNREAD_BYTES):
            return
        try:
            async with self._deadlines.within(UNREAD_SECONDS):
                while self._more and self._received < UNREAD_BYTES:
                    await self._next()
        except (TimeoutError, RequestTimeout):
            return


async def refuse(send: Send, error: AppError, headers: Mapping[bytes, bytes] | None = None) -> None:
    headers = {b"content-type": b"application/problem+json", **(headers or {})}
    await answer(send, error.status, headers, msgspec.json.encode(problem(error)))


async def answer(send: Send, status: int, headers: Mapping[bytes, bytes], body: bytes = b"") -> None:
    sent = [*headers.items(), *SAFE_HEADERS]
    if status != HTTPStatus.NO_CONTENT:
        sent.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body, "more_body": False})


# Of every answer. The server leaves out its own `server` where the answer has one.
SAFE_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"), (b"server", b"")]
