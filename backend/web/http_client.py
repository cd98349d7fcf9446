"""Outgoing HTTP: one pool of kept-alive connections to Storage, the providers, or the service.

Why aiohttp and not httpx: docs/decisions/0020-libraries-tried.md.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from io import BytesIO
from typing import Self
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

Body = bytes | AsyncIterator[bytes]

WRITTEN_AT_ONCE = 1 << 18  # bytes
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
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`read_seconds` is the timeout of each read of a response; None for no timeout."""
        self._base_url = base_url
        self._connections = connections
        self._idle_seconds = idle_seconds
        self._timeout = timeout(read_seconds)
        self._headers = headers
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=self._idle_seconds, ttl_dns_cache=60
            ),
            headers=self._headers,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(send_once,),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        json: object = None,
        content: Body | None = None,
        read_seconds: float | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """`url` is relative to `base_url` if there is one. Raises one of FAILURES."""
        assert self._session is not None, "used before it was opened"  # noqa: S101
        if json is not None:
            content = msgspec.json.encode(json)
            headers = {"content-type": "application/json", **(headers or {})}
        if params:
            url = f"{url}?{urlencode(params)}"
        return self._session.request(
            method,
            URL(self._base_url + url, encoded=True),
            data=in_chunks(content),
            headers=headers,
            allow_redirects=False,
            timeout=timeout(read_seconds) if read_seconds is not None else self._timeout,
        )


def in_chunks(content: Body | None) -> Body | BytesIO | None:
    """A large body as a file: aiohttp writes bytes at once, which blocks the loop, and a file in chunks."""
    return BytesIO(content) if isinstance(content, bytes) and len(content) > WRITTEN_AT_ONCE else content


def timeout(read_seconds: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=None, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=read_seconds
    )
