"""Outgoing HTTP: one pool of kept-alive connections to Storage, the providers, or the service.

aiohttp, because a call costs it a quarter of what it costs httpx, and a lifecycle makes five.
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

AT_ONCE = 1 << 18  # bytes
CONNECT_SECONDS = 3.0
# The request cannot have reached anybody. (A connection that timed out stood for nobody either.)
NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
# No usable answer came; whether the request had an effect is open, unless it is one of NEVER_SENT.
FAILURES = (aiohttp.ClientError, TimeoutError, OSError)


class HttpClient:
    """Opened on the event loop that uses it (`async with`).

    Follows no redirect, keeps no cookie, sends what it is given: a URL must be quoted already. Proxies of the
    environment are left alone, because with them aiohttp would also send the logins of a netrc file.
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
        """`read_seconds` bounds the silence between two pieces of an answer; None: it may last."""
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
        )
        # Left to itself it repeats a GET or a DELETE whose connection broke: no call is made twice unasked.
        self._session._retry_connection = False  # noqa: SLF001
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
        """Send once; a URL begins with `base_url` if there is one. Raises one of FAILURES."""
        assert self._session is not None, "used before it was opened"  # noqa: S101
        if json is not None:
            content = msgspec.json.encode(json)
            headers = {"content-type": "application/json", **(headers or {})}
        if params:
            url = f"{url}?{urlencode(params)}"
        return self._session.request(
            method,
            URL(self._base_url + url, encoded=True),
            data=in_pieces(content),
            headers=headers,
            allow_redirects=False,
            timeout=timeout(read_seconds) if read_seconds is not None else self._timeout,
        )


def in_pieces(content: Body | None) -> Body | BytesIO | None:
    """A body too large to be written at once, without holding up the loop, is read piece by piece."""
    return BytesIO(content) if isinstance(content, bytes) and len(content) > AT_ONCE else content


def timeout(read_seconds: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=None, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=read_seconds
    )
