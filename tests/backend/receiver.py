"""A receiver of webhooks: a real server, which verifies with the stock library."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from standardwebhooks import Webhook

from scripts.local.supabase.ports import free_port

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
Answer = Callable[[dict[str, Any]], bytes | None]  # None: no answer, the connection stays open


def answer(status: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Answer", "content-length: 0", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


class Receiver:
    """`received`: the data of what was accepted, in order; `seen`: everything that arrived."""

    def __init__(self) -> None:
        self.port = free_port()
        self.secret = ""
        self.answer: Answer = lambda _: OK
        self.received: list[dict[str, Any]] = []
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.most_at_once = 0
        self._now = 0
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?to=me"

    @property
    def is_up(self) -> bool:
        return self._server is not None

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def down(self) -> None:
        if self._server:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            assert first == "POST /hook?to=me HTTP/1.1"
            Webhook(self.secret).verify(body, headers)
            data = msgspec.json.decode(body)["data"]
            self.seen.append(data)
            self.headers.append(headers)
            said = self.answer(data)
            if said is None:
                await reader.read()  # until the client gives up
            else:
                if said.startswith(b"HTTP/1.1 2"):
                    self.received.append(data)
                writer.write(said)
                await writer.drain()
        self._now -= 1
        writer.close()


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.up()
    try:
        yield made
    finally:
        await made.down()
