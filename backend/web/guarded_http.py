"""Guarded HTTP: requests to addresses that others choose, such as a webhook's or a recording's.

The host is resolved once for each request, all of its addresses are checked, and the connection is made to
one of these very addresses. Nothing is sent before that: neither a byte nor a header with credentials. A
redirect is an error, no cookie is kept, and size and time are bounded. Each use has a client of its own.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from ssl import SSLContext
from typing import BinaryIO, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from backend.settings.network import Network
from backend.web.addresses import AddressRefused, parse_url, require_allowed
from backend.web.http_client import send_once, timeout, write_whole

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # host and port → IP addresses

RESOLVER_THREADS = 8
CHUNK = 1 << 16  # bytes
READ_SECONDS = 10.0
TOTAL_SECONDS = 30.0
REDIRECTS = range(300, 400)
NO_RESPONSE = (aiohttp.ClientError, TimeoutError)  # FAILURES without an error of the file it is saved to


class Redirected(AddressRefused):
    """The server answered with a redirect, which is not followed."""

    code = "redirect_refused"
    help = "Name the address at which the server itself answers."


class BodyTooLarge(Exception):  # noqa: N818 - as the errors of the service
    """The body of the response has more bytes than the caller takes."""


class GuardedResponse:
    """A body that is not read is discarded: its connection is closed."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self, most: int) -> bytes:
        """Raises BodyTooLarge, or one of FAILURES."""
        return b"".join([chunk async for chunk in self._chunks(most)])

    async def save(self, file: BinaryIO, most: int) -> int:
        """Into the file, in constant memory; returns its bytes. Raises BodyTooLarge, or one of FAILURES."""
        size = 0
        async for chunk in self._chunks(most):
            await asyncio.to_thread(write_whole, file, chunk)
            size += len(chunk)
        return size

    async def _chunks(self, most: int) -> AsyncIterator[bytes]:
        if (self._response.content_length or 0) > most:
            raise BodyTooLarge
        size = 0
        async for chunk in self._response.content.iter_chunked(CHUNK):
            size += len(chunk)
            if size > most:
                raise BodyTooLarge
            yield chunk


class GuardedHttp:
    """Opened on the event loop that uses it (`async with`).

    `allowed`: networks that are not public, but that an operator named; only they may have http.
    """

    def __init__(
        self,
        *,
        connections: int = 32,
        allowed: Sequence[Network] = (),
        resolve: Resolve | None = None,
        tls: SSLContext | None = None,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._connections = connections
        self._allowed = tuple(allowed)
        self._resolve = resolve
        self._tls = tls
        self._total_seconds = total_seconds
        self._opened = AsyncExitStack()
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        resolve = self._resolve or self._system_resolver()
        for scheme in ("https", "http"):
            connector = aiohttp.TCPConnector(
                limit=self._connections,
                force_close=True,
                use_dns_cache=False,
                resolver=CheckedResolver(scheme, resolve, self._allowed),
                ssl=self._tls or True,
            )
            session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                middlewares=(send_once,),
                auto_decompress=False,
                trust_env=False,
            )
            self._sessions[scheme] = await self._opened.enter_async_context(session)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    def _system_resolver(self) -> Resolve:
        """In threads of its own: a name server that is slow delays no other work."""
        threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")
        self._opened.callback(threads.shutdown, wait=False, cancel_futures=True)

        async def resolve(host: str, port: int) -> list[str]:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(
                threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            )
            return [str(address[0]) for *_, address in found]

        return resolve

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        total_seconds: float | None = None,
    ) -> AsyncIterator[GuardedResponse]:
        """Raises AddressRefused before anything is sent, Redirected, or one of FAILURES (http_client)."""
        outside = parse_url(url)
        if outside.literal is not None:  # aiohttp resolves no IP address
            require_allowed(outside.scheme, outside.literal, self._allowed)
        async with self._sessions[outside.scheme].request(
            method,
            outside.url,
            data=content,
            headers={"accept-encoding": "identity", **(headers or {})},
            allow_redirects=False,
            timeout=timeout(READ_SECONDS, total_seconds or self._total_seconds),
        ) as response:
            try:
                if response.status in REDIRECTS:
                    raise Redirected
                yield GuardedResponse(response)
            finally:
                response.close()


class CheckedResolver(AbstractResolver):
    """Gives aiohttp only addresses that were checked. One refused address refuses the host."""

    def __init__(self, scheme: str, resolve: Resolve, allowed: Sequence[Network]) -> None:
        self._scheme = scheme
        self._resolve = resolve
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = [ip_address(text) for text in await self._resolve(host, port)]
        if not addresses:
            raise OSError("the host has no address")
        for address in addresses:
            require_allowed(self._scheme, address, self._allowed)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """The threads end with the client."""
