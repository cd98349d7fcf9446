"""Upstreams that misbehave: one that refuses an upload early, one that hangs, one that never reads."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from backend.providers.base import ErrorKind, ProviderError
from backend.providers.http import Call, send
from backend.storage.client import Storage, StorageRefused
from backend.web.http_client import HttpClient
from backend.web.jwks import JwksKeys
from backend.web.upstreams import PROVIDER_CONNECTIONS, Upstreams
from tests.backend.storages import supabase

BUCKET = "voice-samples"
REFUSAL = b'{"statusCode":"409","error":"Duplicate","message":"It exists","code":"KeyAlreadyExists"}'
FOUND = b'{"id":"1","name":"a.wav","version":"1","size":3}'
WATCHDOG = 8.0  # seconds; the upload that poisons a connection holds the next call for ten

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.create_task(handle(reader, writer)))

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for each in handlers:
            each.cancel()
        await asyncio.gather(*handlers)


def response(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def refuse_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Refuses an upload at its head, keeps the connection, and reads the body no further: as Storage does."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        if head.startswith(b"GET "):
            writer.write(response(200, FOUND))
        else:
            writer.write(response(400, REFUSAL))
            await writer.drain()
            await asyncio.Event().wait()


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 100_000


# The smaller bodies fit into the sockets' buffers: the client sends them whole, and the server reads nothing.
BODIES: dict[str, Callable[[], AsyncIterator[bytes] | bytes]] = {
    "20 MB, streamed": lambda: pieces(200),
    "20 MB": lambda: b"x" * 20_000_000,
    "400 kB, streamed": lambda: pieces(4),
    "400 kB": lambda: b"x" * 400_000,
}


@pytest.mark.parametrize("body", BODIES)
async def test_after_an_upload_that_is_refused_early_the_next_call_is_answered(body: str) -> None:
    async with server(refuse_early) as url, HttpClient(connections=1) as http, asyncio.timeout(WATCHDOG):
        storage = Storage(supabase(url), http)
        with pytest.raises(StorageRefused) as refused:
            await storage.upload(BUCKET, "a.wav", BODIES[body](), "audio/wav")
        assert refused.value.storage_status == 409
        assert await storage.info(BUCKET, "a.wav") is not None


async def test_a_provider_that_refuses_a_sample_early_is_heard() -> None:
    async with server(refuse_early) as url, HttpClient(connections=1) as http, asyncio.timeout(WATCHDOG):
        call = Call(provider="qwen", seconds=60, commits=True)
        answer = await send(http, call, "POST", url, content=pieces(4))
        assert answer.status == 400
        assert (await send(http, call, "GET", url)).ok, "the next call has a connection of its own"


async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes each request and never answers."""
    while await reader.read(1 << 16):
        pass


async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while head := await reader.readuntil(b"\r\n\r\n"):
        writer.write(response(200, b'{"keys":[]}' if b"/jwks" in head else FOUND))


async def test_a_provider_that_hangs_stops_neither_storage_nor_keys_nor_another_provider() -> None:
    upstreams = Upstreams()
    hanging, other = upstreams.provider("qwen"), upstreams.provider("elevenlabs")
    calls: list[asyncio.Task[object]] = []
    async with server(swallow) as dead, server(answer_all) as alive, upstreams:
        for number in range(2 * PROVIDER_CONNECTIONS):
            call = Call(provider="qwen", seconds=600)
            calls.append(asyncio.create_task(send(hanging, call, "GET", f"{dead}/{number}")))
        async with asyncio.timeout(60):
            refused, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        error = refused.pop().exception()
        assert isinstance(error, ProviderError), "past the limit a call waits a little, and is not sent"
        assert (error.kind, error.code) == (ErrorKind.UNAVAILABLE, "provider_unavailable")
        assert any(not each.done() for each in calls)

        async with asyncio.timeout(WATCHDOG):
            assert await Storage(supabase(alive), upstreams.storage).info(BUCKET, "a.wav") is not None
            assert await JwksKeys(f"{alive}/jwks", upstreams.keys).find("any") is None
            answer = await send(other, Call(provider="elevenlabs", seconds=5), "GET", alive)
            assert answer.ok
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_body_that_is_not_read_ends_at_the_timeout_of_the_call() -> None:
    async def deaf(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with server(deaf) as url, HttpClient(total_seconds=0.5) as http, asyncio.timeout(WATCHDOG):
        with pytest.raises(TimeoutError):
            async with http.request("POST", url, content=b"x" * 50_000_000):
                pass
