"""One port for /storage/v1 and /realtime/v1, served here, and for Auth and Data API, which are passed on.

`python -m scripts.local.supabase.gateway` takes its settings as JSON in GATEWAY_SETTINGS.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import quote

import httpx
import msgspec
import uvloop
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from scripts.local.supabase import realtime as realtimes
from scripts.local.supabase.config import GatewaySettings
from scripts.local.supabase.realtime import Realtime
from scripts.local.supabase.storage.app import create_storage

HOP_BY_HOP = {b"connection", b"host", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
BODILESS = {"GET", "HEAD", "OPTIONS"}
TIMEOUT = httpx.Timeout(60, connect=5)
READABLE = {b"access-control-allow-origin": b"*", b"access-control-expose-headers": b"*"}
UPSTREAM_DOWN = b'{"message":"An invalid response was received from the upstream server"}'


def create_gateway(settings: GatewaySettings, realtime: Realtime | None = None) -> ASGIApp:
    storage = create_storage(settings.storage)
    # Node closes an idle connection after 5 s; one that is about to go must not carry a request.
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=3)
    client = httpx.AsyncClient(limits=limits, trust_env=False)

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and realtime and scope["path"] == realtimes.PATH:
            await realtime(scope, receive, send)
        elif scope["type"] == "http" and is_preflight(scope):
            await answer_preflight(scope, send)
        elif scope["type"] == "http" and scope["path"].startswith(("/auth/v1/", "/rest/v1/")):
            await forward(client, settings.upstream, scope, receive, readable_by_any_page(send))
        else:
            await storage(scope, receive, send)

    return gateway


def is_preflight(scope: HTTPScope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return scope["method"] == "OPTIONS" and b"access-control-request-method" in names


async def answer_preflight(scope: HTTPScope, send: Send) -> None:
    """Any page may send any header, as on a hosted project: the token in it is what opens doors."""
    requested = dict(scope["headers"]).get(b"access-control-request-headers", b"*")
    headers = [
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-methods", b"GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS"),
        (b"access-control-allow-headers", requested),
        (b"access-control-max-age", b"3600"),
        (b"vary", b"Access-Control-Request-Headers"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def readable_by_any_page(send: Send) -> Send:
    """The Data API and Storage say so themselves; Auth does not."""

    async def send_with_leave(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message["headers"] if name not in READABLE]
            message["headers"] = [*kept, *READABLE.items()]
        await send(message)

    return send_with_leave


async def forward(
    client: httpx.AsyncClient, upstream: str, scope: HTTPScope, receive: Receive, send: Send
) -> None:
    """Pass a request on and its answer back, both as they come."""
    headers = [(name, value) for name, value in scope["headers"] if name not in HOP_BY_HOP]
    has_body = scope["method"] not in BODILESS or b"content-length" in {name for name, _ in headers}
    request = httpx.Request(
        scope["method"],
        httpx.URL(upstream).copy_with(raw_path=target(scope)),
        headers=headers,
        content=request_body(receive) if has_body else None,
        extensions={"timeout": TIMEOUT.as_dict()},
    )
    try:
        response = await client.send(request, stream=True)
    except httpx.TransportError:
        content_type = (b"content-type", b"application/json")
        await send({"type": "http.response.start", "status": 502, "headers": [content_type]})
        await send({"type": "http.response.body", "body": UPSTREAM_DOWN, "more_body": False})
        return
    try:
        answered = [(name.lower(), value) for name, value in response.headers.raw]
        passed = [(name, value) for name, value in answered if name not in HOP_BY_HOP]
        await send({"type": "http.response.start", "status": response.status_code, "headers": passed})
        async for chunk in response.aiter_raw():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        await response.aclose()


def target(scope: HTTPScope) -> bytes:
    """Path and query as the client wrote them."""
    path = scope["raw_path"] or quote(scope["path"]).encode()
    return path + b"?" + scope["query_string"] if scope["query_string"] else path


async def request_body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        if message["body"]:
            yield message["body"]
        if not message["more_body"]:
            return


async def serve(settings: GatewaySettings) -> None:
    """Until SIGTERM or SIGINT."""
    async with AsyncExitStack() as cleanup:
        realtime = None
        if settings.realtime_url:
            realtime = await cleanup.enter_async_context(
                Realtime(settings.realtime_url, settings.storage.keys)
            )
        server = Server(
            create_gateway(settings, realtime),
            address="127.0.0.1",
            port=settings.port,
            interface=Interfaces.ASGI,
            log_level=LogLevels.warning,
        )
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, server.stop)
        await server.serve()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    uvloop.run(serve(msgspec.json.decode(os.environ["GATEWAY_SETTINGS"], type=GatewaySettings)))
