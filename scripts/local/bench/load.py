"""A small HTTP/1.1 load generator: kept-alive connections that send the next request after each answer."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from urllib.parse import urlsplit


def request_bytes(url: str, headers: dict[str, str], body: bytes | None = None) -> bytes:
    """GET, or POST where there is a body."""
    parts = urlsplit(url)
    lines = [f"{'GET' if body is None else 'POST'} {parts.path} HTTP/1.1", f"host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str) -> "Connection":
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def request(self, request: bytes) -> int:
        """The status; the body is read and dropped."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        await self._reader.readexactly(length)
        return int(head[9:12])

    def close(self) -> None:
        self._writer.close()


async def requests_per_second(url: str, request: bytes, *, connections: int, seconds: float) -> float:
    """Raises RuntimeError when an answer is an error, which would be faster than the work."""
    opened = [await Connection.open(url) for _ in range(connections)]
    ends = time.perf_counter() + seconds
    counts = await asyncio.gather(*(request_until(each, request, ends) for each in opened))
    for each in opened:
        each.close()
    return sum(counts) / seconds


async def request_until(connection: Connection, request: bytes, ends: float) -> int:
    count = 0
    while time.perf_counter() < ends:
        status = await connection.request(request)
        if status >= 300:
            raise RuntimeError(f"HTTP {status}")
        count += 1
    return count


async def milliseconds(url: str, requests: Sequence[bytes]) -> float:
    """The median of these, one after the other on one connection."""
    connection = await Connection.open(url)
    taken = []
    for request in requests:
        started = time.perf_counter()
        status = await connection.request(request)
        taken.append((time.perf_counter() - started) * 1000)
        if status >= 300:
            raise RuntimeError(f"HTTP {status}")
    connection.close()
    return statistics.median(taken)
