"""A stop that no client delays: a connection whose client stalls is shut down.

The server waits until its open connections have ended. An application cannot end one, and does not see
what waits in the kernel, so this looks at the process's own sockets. On Linux alone; elsewhere the server's
deadlines end the wait.
"""

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Never

from litestar.types import ASGIApp, Receive, Scope, Send

STALLED_SECONDS = 1.0  # without a byte in either direction
TCP_INFO_BYTES = 136
BYTES_ACKED = 120  # where it is in struct tcp_info of linux/tcp.h; the bytes received follow
OPEN_FILES = Path("/proc/self/fd")


class OpenRequests:
    """Around an application: how many of its requests run."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.count += scope["type"] == "http"
        try:
            await self._app(scope, receive, send)
        finally:
            self.count -= scope["type"] == "http"


async def end_stalled_connections(requests: OpenRequests, port: int) -> Never:
    """Once no request runs: those to `port` where nothing moves, as half a head or an answer unread."""
    before: dict[str, tuple[int, int]] = {}
    while True:
        await asyncio.sleep(STALLED_SECONDS)
        if requests.count:
            continue
        now: dict[str, tuple[int, int]] = {}
        for name, connection in connections(port):
            with connection, suppress(OSError):
                now[name] = moved(connection)
                if before.get(name) == now[name]:
                    connection.shutdown(socket.SHUT_RDWR)
        before = now


def connections(port: int) -> Iterator[tuple[str, socket.socket]]:
    """The accepted ones, each with its name in the kernel. The caller closes the copies."""
    if sys.platform != "linux":
        return
    for file in os.listdir(OPEN_FILES):
        with suppress(OSError):  # closed meanwhile, or no connection
            name = os.readlink(OPEN_FILES / file)
            if not name.startswith("socket:"):
                continue
            copy = socket.socket(fileno=os.dup(int(file)))
            if is_accepted(copy, port):
                yield name, copy
            else:
                copy.close()


def is_accepted(copy: socket.socket, port: int) -> bool:
    if copy.family not in (socket.AF_INET, socket.AF_INET6) or copy.getsockname()[1] != port:
        return False
    with suppress(OSError):  # the one that listens has no peer
        return bool(copy.getpeername())
    return False


def moved(connection: socket.socket) -> tuple[int, int]:
    """Bytes that the client has acknowledged, and bytes that it has sent."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    acknowledged, received = struct.unpack_from("QQ", info, BYTES_ACKED)
    return acknowledged, received
