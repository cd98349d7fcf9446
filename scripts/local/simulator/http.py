"""A small HTTP/1.1 server that does what ASGI servers cannot: reset a connection, and see a client leave."""

import asyncio
import socket
import struct
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import msgspec
from msgspec import Struct, field

MAX_BODY = 256 * 1024 * 1024


class Request(Struct, kw_only=True):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # lower-case names
    body: bytes
    gone: asyncio.Event  # set when the client has left


class Response(Struct, kw_only=True):
    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)


class ResetConnectionError(Exception):
    """Raised by a handler: no answer, the connection is torn down with an RST."""


Handler = Callable[[Request], Awaitable[Response]]


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        status=status,
        body=msgspec.json.encode(content),
        headers={"content-type": "application/json", **(headers or {})},
    )


class Connection(asyncio.Protocol):
    def __init__(self, handler: Handler, open_connections: "set[Connection]") -> None:
        self._handler = handler
        self._open = open_connections
        self._http = h11.Connection(h11.SERVER)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._gone = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._advance()

    def abort(self) -> None:
        if self._task:
            self._task.cancel()
        self._transport.abort()

    def _advance(self) -> None:
        while self._task is None and not self._transport.is_closing():
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                return self._transport.close()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                if self._http.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[]))
                return None
            if isinstance(event, h11.Request):
                self._head, self._body = event, bytearray()
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > MAX_BODY:
                    return self._transport.close()
            elif isinstance(event, h11.EndOfMessage):
                self._task = asyncio.get_running_loop().create_task(self._answer())
            else:
                return self._transport.close()
        return None

    async def _answer(self) -> None:
        try:
            await self._send(await self._handler(self._request()))
        except ResetConnectionError:
            return self._reset()
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return self._transport.close()
        if self._http.our_state is h11.MUST_CLOSE or self._http.their_state is h11.MUST_CLOSE:
            return self._transport.close()
        self._http.start_next_cycle()
        self._task = None
        return self._advance()

    def _request(self) -> Request:
        head = cast(h11.Request, self._head)
        target = urlsplit(head.target.decode("ascii", "replace"))
        return Request(
            method=head.method.decode(),
            path=unquote(target.path),
            query=dict(parse_qsl(target.query, keep_blank_values=True)),
            headers={name.decode(): value.decode("latin-1") for name, value in head.headers},
            body=bytes(self._body),
            gone=self._gone,
        )

    async def _send(self, response: Response) -> None:
        head = {"server": "simulator", **response.headers}
        if isinstance(response.body, bytes):
            head["content-length"] = str(len(response.body))
        self._write(h11.Response(status_code=response.status, headers=list(head.items())))
        if isinstance(response.body, bytes):
            self._write(h11.Data(data=response.body))
        else:
            async for chunk in response.body:
                self._write(h11.Data(data=chunk))
        self._write(h11.EndOfMessage())

    def _write(self, event: Any) -> None:
        data = self._http.send(event)
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _reset(self) -> None:
        raw = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


class Server:
    """Serves until closed; closing drops every connection at once, for a simulator has nothing to lose."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: set[Connection] = set()

    async def start(self, host: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._handler, self._connections), host, port, backlog=1024
        )
        return self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await self._server.wait_closed()
