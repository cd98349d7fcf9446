"""Outgoing HTTP: kept-alive connections to one upstream. Each upstream has a client of its own.

The number of connections is the limit of concurrent calls. A call that gets no connection within
CONNECT_SECONDS fails as one that was never sent, so an upstream that hangs takes nothing from the others.

Why aiohttp and not httpx: docs/decisions/0020-libraries-tried.md.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from io import BytesIO
from typing import BinaryIO, Self
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

Body = bytes | AsyncIterator[bytes] | BinaryIO  # a file is sent from where it stands, and closed

WRITTEN_AT_ONCE = 1 << 18  # bytes
READ_BY_ANY_SERVER = 1 << 16  # bytes of a body that a server reads even where it refuses the request
CONNECT_SECONDS = 3.0
# There was no connection, so the request had no effect.
NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
# No usable response came. Unless it is one of NEVER_SENT, the request may have had an effect.
FAILURES = (aiohttp.ClientError, TimeoutError, OSError)


class ConnectionLost(aiohttp.ClientError):
    """The connection broke after the request was sent."""


async def send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """aiohttp repeats a GET, PUT or DELETE whose connection breaks, but not after an error of ours."""
    try:
        return await handler(request)
    except NEVER_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionLost from error


class HttpClient:
    """Opened on the event loop that uses it (`async with`).

    It sends each request once, follows no redirect and keeps no cookie. A URL must be quoted already. The
    environment's proxies are ignored, because aiohttp would read the logins of a netrc file with them.
    """

    def __init__(
        self,
        base_url: str = "",
        *,
        connections: int = 100,
        idle_seconds: float = 30.0,
        read_seconds: float | None = 10.0,
        total_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Timeouts: `read_seconds` of each read of a response, `total_seconds` of a call; None for none."""
        self._base_url = base_url
        self._connections = connections
        self._idle_seconds = idle_seconds
        self._read_seconds = read_seconds
        self._total_seconds = total_seconds
        self._headers = headers
        self._sessions = AsyncExitStack()

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=self._connections, keepalive_timeout=self._idle_seconds, ttl_dns_cache=60
        )
        closing = aiohttp.TCPConnector(limit=self._connections, force_close=True, ttl_dns_cache=60)
        self._session = await self._open_session(connector)
        self._uploading = await self._open_session(closing)
        return self

    async def _open_session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(send_once,),
        )
        return await self._sessions.enter_async_context(session)

    async def __aexit__(self, *_: object) -> None:
        await self._sessions.aclose()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        json: object = None,
        content: Body | None = None,
        read_seconds: float | None = None,
        total_seconds: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """`url` is relative to `base_url` if there is one. Raises one of FAILURES."""
        if json is not None:
            content = msgspec.json.encode(json)
            headers = {"content-type": "application/json", **(headers or {})}
        if params:
            url = f"{url}?{urlencode(params)}"
        session = self._uploading if may_stay_unread(content) else self._session
        async with session.request(
            method,
            URL(self._base_url + url, encoded=True),
            data=in_chunks(content),
            headers=headers,
            allow_redirects=False,
            timeout=timeout(read_seconds or self._read_seconds, total_seconds or self._total_seconds),
        ) as response:
            yield response


def in_chunks(content: Body | None) -> Body | None:
    """A large body as a file: aiohttp writes bytes at once, which blocks the loop, and a file in chunks."""
    return BytesIO(content) if isinstance(content, bytes) and len(content) > WRITTEN_AT_ONCE else content


def may_stay_unread(content: Body | None) -> bool:
    """A server that refuses a request early may leave its body unread, before the next request.

    So the connection of a body that a server might not read is closed after the call.
    """
    return content is not None and not (isinstance(content, bytes) and len(content) <= READ_BY_ANY_SERVER)


def timeout(read_seconds: float | None, total_seconds: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=total_seconds, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=read_seconds
    )


def write_whole(file: BinaryIO, data: bytes) -> None:
    """An unbuffered file may take less than it is given, as on a disk that is almost full."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
