"""The client against servers that close connections: each request is sent once."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from backend.web.http_client import FAILURES, NEVER_SENT, HttpClient

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Breaking:
    """Responds to the first request of a connection and closes it at the next."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for answer in (ANSWER, b""):
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(answer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def breaking() -> AsyncIterator[Breaking]:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = Breaking(bound.getsockname()[1])
        async with await asyncio.start_server(server.serve, sock=bound):
            yield server


async def ask(client: HttpClient, method: str, url: str) -> bytes:
    async with client.request(method, url) as response:
        return await response.read()


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_a_request_whose_connection_breaks_is_not_sent_again(method: str) -> None:
    async with breaking() as server, HttpClient() as client:
        assert await ask(client, method, server.url) == b"ok"
        with pytest.raises(FAILURES) as broken:
            await ask(client, method, server.url)
        assert not isinstance(broken.value, NEVER_SENT), "it may have had an effect"
        assert len(server.requests) == 2


async def test_a_connection_that_never_stood_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    async with HttpClient() as client:
        with pytest.raises(NEVER_SENT):
            await ask(client, "POST", url)


async def test_a_server_that_falls_silent_is_not_waited_for() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with HttpClient(read_seconds=0.2) as client:
            with pytest.raises(aiohttp.SocketTimeoutError):
                await ask(client, "GET", url)


async def test_a_quoted_address_travels_as_it_is() -> None:
    async with breaking() as server, HttpClient() as client:
        await ask(client, "GET", f"{server.url}/a%2Fb%20c/%C3%A9?signature=a%2Bb")
        assert server.requests[0].startswith(b"GET /a%2Fb%20c/%C3%A9?signature=a%2Bb HTTP/1.1\r\n")
