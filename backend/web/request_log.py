"""Each request gets an id, returned in a header, and one line of the log.

The line has the route's template, never the path, which may contain personal data.
"""

import hmac
import re
import time
from collections.abc import Iterable
from typing import cast
from uuid import uuid4

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from backend.telemetry.measures import count_request
from backend.telemetry.traces import is_traced, read_traceparent, span
from backend.web.logs import log, request_id
from backend.web.rate_limits import HEADERS, RateLimitHeaders
from backend.web.request_bounds import SAFE_HEADERS

ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")


class RequestLog:
    """Wraps the whole application, so that a 404 has an id as well."""

    def __init__(self, app: ASGIApp, internal_token: str = "") -> None:
        self.app = app
        self._authorization = f"Bearer {internal_token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not is_traced():
            await self._answer(scope, receive, send)
            return
        given = read_traceparent((header(scope, b"traceparent") or b"").decode("latin-1"))
        trusted = hmac.compare_digest(header(scope, b"authorization") or b"", self._authorization)
        parent = given if trusted else None
        links = [given] if given and not trusted else []
        with span(scope["method"], "SERVER", parent=parent, links=links) as current:
            try:
                await self._answer(scope, receive, send)
            finally:
                current.rename(f"{scope['method']} {scope.get('path_template') or 'none'}")
                current.set(**scope["state"].get("log", {}))

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        identity = incoming_id(scope) or uuid4().hex
        identity_header = (b"x-request-id", identity.encode())
        restore = request_id.set(identity)
        started = time.perf_counter()
        status = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                limits = cast("RateLimitHeaders", scope["state"].get(HEADERS, ()))
                message["headers"] = [*safe_headers(message["headers"], identity_header), *limits]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("response_interrupted")
            raise
        finally:
            seconds = time.perf_counter() - started
            count_request(scope["method"], scope.get("path_template"), status, seconds)
            log.info(
                "request",
                method=scope["method"],
                route=scope.get("path_template"),
                status=status,
                ms=round(seconds * 1000, 2),
                **scope["state"].get("log", {}),
            )
            request_id.reset(restore)


def safe_headers(
    headers: Iterable[tuple[bytes, bytes]], identity: tuple[bytes, bytes]
) -> list[tuple[bytes, bytes]]:
    """Nothing is cached unless its route says so: answers are private, and some hold signed URLs."""
    given = [*headers]
    names = {name.lower() for name, _ in given}
    return [*given, identity, *(header for header in SAFE_HEADERS if header[0] not in names)]


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first with this name."""
    return next((value for each, value in scope["headers"] if each == name), None)


def incoming_id(scope: Scope) -> str | None:
    """The client's own id, if it has an acceptable form."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and ACCEPTABLE_ID.fullmatch(value):
            return value.decode()
    return None
