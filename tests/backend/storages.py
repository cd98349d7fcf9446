"""Storage for tests of its client: the embedded one as a process, and one that fails on request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiohttp import web

from backend.settings.supabase import SupabaseSettings
from scripts.local.supabase.config import GatewaySettings
from scripts.local.supabase.ports import free_port
from scripts.local.supabase.processes import Child, Processes
from scripts.local.supabase.storage.server import StorageSettings
from scripts.local.supabase.storage.tokens import Keys
from tests.backend.conftest import NOBODY
from tests.preloaded import launch

SECRET_KEY = "sb_secret_of_this_very_test"
JWT_SECRET = "a secret of more than thirty-two letters"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class EmbeddedStorage(msgspec.Struct):
    url: str
    child: Child


@asynccontextmanager
async def embedded_storage(directory: Path, database_url: str) -> AsyncIterator[EmbeddedStorage]:
    """Its objects and logs are in `directory`."""
    port = free_port()
    settings = GatewaySettings(
        port=port,
        upstream=NOBODY,
        storage=StorageSettings(
            database_url=database_url,
            root=str(directory / "objects"),
            keys=Keys("sb_publishable", SECRET_KEY, "anon", "service", JWT_SECRET),
        ),
    )
    env = {"GATEWAY_SETTINGS": msgspec.json.encode(settings).decode()}
    processes = Processes(directory)
    child = await processes.launch("storage", launch("scripts.local.supabase.gateway", env=env))
    try:
        url = f"http://127.0.0.1:{port}"
        await child.await_url(f"{url}/storage/v1/status")
        yield EmbeddedStorage(url, child)
    finally:
        await processes.stop_all()


def supabase(url: str, secret_key: str = SECRET_KEY) -> SupabaseSettings:
    return SupabaseSettings(url=url, secret_key=secret_key, jwt_secret=JWT_SECRET, jwks_url="off")


@asynccontextmanager
async def failing_storage(handler: Handler) -> AsyncIterator[str]:
    """Its URL. The handler responds to every request."""

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def saying(status: int, body: bytes, content_type: str = "application/json") -> Handler:
    async def respond(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, content_type=content_type)

    return respond


async def cut_before(request: web.Request) -> web.StreamResponse:
    """The connection closes without a response."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut_midway(request: web.Request) -> web.StreamResponse:
    """The connection closes within the body."""
    response = web.StreamResponse(headers={"content-length": "1000000"})
    await response.prepare(request)
    await response.write(b'{"url":')
    assert request.transport is not None
    request.transport.close()
    return response


async def silent(_: web.Request) -> web.StreamResponse:
    """The connection stays open and sends nothing."""
    await asyncio.Event().wait()
    raise AssertionError("never reached")
