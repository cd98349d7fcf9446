"""HTTP on aiohttp; a handler may also reset its connection, and learns when its client leaves."""

import asyncio
import socket
import struct
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct, field

MAX_BODY = 256 * 1024 * 1024
SHUTDOWN_SECONDS = 0.1  # a simulated call may be cut off
LINGER_ZERO = struct.pack("ii", 1, 0)  # closing sends an RST and drops what was not sent


class Request(Struct, kw_only=True):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # lower-case names
    body: bytes
    client_left: asyncio.Event


class Response(Struct, kw_only=True):
    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)


class ResetConnectionError(Exception):
    """Raised by a handler: no answer, the connection is closed with an RST."""


Handler = Callable[[Request], Awaitable[Response]]


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        status=status,
        body=msgspec.json.encode(content),
        headers={"content-type": "application/json", **(headers or {})},
    )


class Server:
    """Serves until it is closed; closing drops every connection."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._calls: set[asyncio.Task[Response]] = set()

    async def start(self, host: str, port: int) -> int:
        """The port it listens on. Raises OSError where it cannot."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=1024).start()
        return self._runner.addresses[0][1]

    async def close(self) -> None:
        await self._runner.cleanup()
        for call in self._calls:
            call.cancel()

    async def _serve(self, http: web.Request) -> web.StreamResponse:
        """The call continues when its client leaves, as at a vendor."""
        request = await read_request(http)
        call = asyncio.ensure_future(self._handler(request))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            return await send(http, await asyncio.shield(call))
        except asyncio.CancelledError:
            request.client_left.set()
            call.add_done_callback(report_failure)
            raise
        except ResetConnectionError:
            return reset(http)
        except ConnectionError:
            return web.Response()  # the client left while it was answered
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return reset(http)


async def read_request(http: web.Request) -> Request:
    return Request(
        method=http.method,
        path=http.path,
        query=dict(http.query),
        headers={name.lower(): value for name, value in http.headers.items()},
        body=await http.read(),
        client_left=asyncio.Event(),
    )


async def send(http: web.Request, response: Response) -> web.StreamResponse:
    headers = {"server": "simulator", **response.headers}
    if isinstance(response.body, bytes):
        return web.Response(status=response.status, body=response.body, headers=headers)
    stream = web.StreamResponse(status=response.status, headers=headers)
    await stream.prepare(http)
    async for chunk in response.body:
        await stream.write(chunk)
    await stream.write_eof()
    return stream


def reset(http: web.Request) -> web.StreamResponse:
    if http.transport is not None:
        connection = http.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        http.transport.abort()
    return web.Response()  # never sent


def report_failure(call: asyncio.Task[Response]) -> None:
    """Of a call whose client left: no one else retrieves its exception."""
    if not call.cancelled() and (error := call.exception()) and not isinstance(error, ResetConnectionError):
        traceback.print_exception(error, file=sys.stderr)
