"""A service whose responses to steps the test chooses, over real HTTP on loopback."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
from granian.constants import Interfaces
from granian.server.embed import Server

from queue_consumers.settings import ServiceSettings
from scripts.local.supabase.ports import free_port

TOKEN = "t" * 32
DONE: dict[str, object] = {"outcome": "done", "reason": None, "acknowledged": False}


class Asked(NamedTuple):
    path: str
    headers: dict[str, str]
    body: Any


class Answered(NamedTuple):
    status: int = 200
    body: object = DONE
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = ""  # by default the one that the service sends with this status


class Service:
    """`answer` may be replaced; each request is kept in `asked`."""

    def __init__(self, port: int) -> None:
        self.settings = ServiceSettings(url=f"http://127.0.0.1:{port}", internal_token=TOKEN)
        self.asked: list[Asked] = []
        self.arrived = asyncio.Event()
        self.answer: Callable[[Asked], Awaitable[Answered]] = self.say_done

    async def say_done(self, _: Asked) -> Answered:
        return Answered()

    def handled(self) -> Counter[int]:
        return Counter(asked.body["msg_id"] for asked in self.asked)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        content = b""
        while True:
            part = await receive()
            content += part.get("body", b"")
            if not part.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = Asked(scope["path"], headers, msgspec.json.decode(content))
        self.asked.append(asked)
        self.arrived.set()
        status, body, more, kind = await self.answer(asked)
        kind = kind or ("application/json" if status < 400 else "application/problem+json")
        fields = [(b"content-type", kind.encode()), *((name.encode(), text.encode()) for name, text in more)]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        await send({"type": "http.response.body", "body": content})


@asynccontextmanager
async def serving() -> AsyncIterator[Service]:
    port = free_port()
    service = Service(port)
    server = Server(service, port=port, interface=Interfaces.ASGI, log_enabled=False)
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                break
    try:
        yield service
    finally:
        server.stop()
        await running
