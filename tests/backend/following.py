"""The service as a process with a real database, and clients that follow attempts over HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import jwt
import msgspec

from scripts.local.supabase.ports import free_port
from scripts.local.supabase.processes import Child, Processes
from tests.backend.conftest import INTERNAL_TOKEN, NOBODY
from tests.preloaded import launch

SECRET = "a secret of more than thirty-two letters"
PATIENCE = 30  # seconds before a test gives up; no test waits for them to pass


class Service(msgspec.Struct):
    url: str
    child: Child

    def path(self, attempt: UUID) -> str:
        return f"{self.url}/v1/voice-clone-attempts/{attempt}/events"

    @asynccontextmanager
    async def follow(
        self, attempt: UUID, user: UUID, after: int = 0, token_seconds: float = 600
    ) -> AsyncIterator["Follower"]:
        async with (
            httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http,
            http.stream("GET", self.path(attempt), headers=headers(user, after, token_seconds)) as answer,
        ):
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield Follower(answer, after)

    async def ask(self, attempt: UUID, sent: dict[str, str]) -> httpx.Response:
        """For responses that are not streams."""
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
            return await http.get(self.path(attempt), headers=sent)


class Follower:
    """Reads a stream of server-sent events, one event at a time, as the specification defines it."""

    def __init__(self, answer: httpx.Response, after: int) -> None:
        self._lines = answer.aiter_lines()
        self.last_id = after

    async def next(self) -> dict[str, Any] | None:
        """The data of the next event, or None at the end of the stream."""
        async with asyncio.timeout(PATIENCE):
            data: dict[str, Any] | None = None
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if name == "id":
                    assert int(value) > self.last_id, "sent twice, or out of order"
                    self.last_id = int(value)
                elif name == "data":
                    data = msgspec.json.decode(value)
                elif not line and data is not None:
                    return data
        return None

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        while event := await self.next():
            yield event

    async def most(self, count: int) -> AsyncIterator[dict[str, Any]]:
        """At most this many events; fewer if the stream ends."""
        while count and (event := await self.next()):
            count -= 1
            yield event

    async def take(self, count: int) -> list[str]:
        """The first edge of each of the next events."""
        found = [await self.next() for _ in range(count)]
        return [each["events"][0] if each else "end" for each in found]

    async def heartbeat(self) -> None:
        """Read until a comment line."""
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if line.startswith(":"):
                    return


def headers(user: UUID, after: int = 0, seconds: float = 600) -> dict[str, str]:
    claims = {
        "sub": str(user),
        "role": "authenticated",
        "aud": "authenticated",
        "iss": f"{NOBODY}/auth/v1",
        "exp": time.time() + seconds,
    }
    resumed = {"last-event-id": str(after)} if after else {}
    return {"authorization": f"Bearer {jwt.encode(claims, SECRET)}", **resumed}


@asynccontextmanager
async def serving(logs: Path, database_url: str, **settings: str) -> AsyncIterator[Service]:
    """`python -m backend` on a free port, until the block ends."""
    port = free_port()
    env = {
        "DATABASE_URL": database_url,
        "DATABASE_TIMEOUT_SECONDS": "0.5",
        "PORT": str(port),
        "SUPABASE_URL": NOBODY,
        "SUPABASE_SECRET_KEY": "sb_secret_of_this_very_test",
        "SUPABASE_JWT_SECRET": SECRET,
        "SUPABASE_JWKS_URL": "off",
        "INTERNAL_TOKEN": INTERNAL_TOKEN,
        **settings,
    }
    processes = Processes(logs)
    child = await processes.launch("service", launch("backend", env=env))
    try:
        await child.await_url(f"http://127.0.0.1:{port}/health/live")
        yield Service(f"http://127.0.0.1:{port}", child)
    finally:
        await processes.stop_all()
