"""The worker process: reads requests from its socket one after the other, until the socket closes.

`main(MODULE, MEMORY_BYTES, CPU_SECONDS, PARENT)`, where MODULE has `handle(request, files) -> bytes`. It may
have `load()`, for what takes time: it runs before the restrictions, and after each response, while nobody
waits. The input may be hostile: memory is bounded for the process, CPU time for each request; the rest:
restrictions.py.
"""

import contextlib
import math
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from io import FileIO
from typing import Any, BinaryIO, cast

import msgspec

from backend.sandbox.errors import InputRefused
from backend.sandbox.frames import FAILED, HEADER, MOST_FILES, NO_MEMORY, OK, REFUSED, RefusedFrame
from backend.sandbox.restrictions import restrict_this_process

MAX_FILE_BYTES = 64 << 20
MAX_OPEN_FILES = 64
MAX_THREADS = 256


def main(module: str, memory_bytes: int, cpu_seconds: int, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the process group; the parent decides
    # One thread each: the pool's size is the parallelism. Libraries read it when they are loaded.
    # The limit binds those that ask for more: with four threads the detector of voices mostly waits for them.
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", OMP_THREAD_LIMIT="1")
    connection = _take_socket()
    handler = import_module(module)
    load = getattr(handler, "load", lambda: None)
    load()
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_FSIZE, MAX_FILE_BYTES)
    _limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    was = os.getuid()
    restrict_this_process(module, parent)
    if os.getuid() not in {was, 0}:  # the count is the user's, and this user is the worker's own
        _limit(resource.RLIMIT_NPROC, MAX_THREADS)
    while received := _receive(connection):
        request, files = received
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + cpu_seconds, for_good=False)
        with contextlib.ExitStack() as opened:
            status, response = _respond(
                handler, request, [cast(BinaryIO, opened.enter_context(each)) for each in files]
            )
        connection.sendall(HEADER.pack(status, len(response)))
        connection.sendall(response)
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + cpu_seconds, for_good=False)
        load()


def _take_socket() -> socket.socket:
    """The socket, under another descriptor: what a C library prints goes to stderr, not into a response."""
    connection = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return connection


def _limit(kind: int, amount: int, *, for_good: bool = True) -> None:
    """Lowers a limit; that of CPU time is raised again with each request. macOS refuses some kinds."""
    _, hard = resource.getrlimit(kind)
    soft = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (soft, soft if for_good else hard))


def _receive(connection: socket.socket) -> tuple[bytes, list[FileIO]] | None:
    """A request and the files that came with it; None when the parent has closed the socket."""
    head, descriptors, _, _ = socket.recv_fds(connection, HEADER.size, MOST_FILES)
    files = [FileIO(each, "r+") for each in descriptors]
    head += _read(connection, HEADER.size - len(head)) if head else b""
    if len(head) < HEADER.size:
        return None
    _, size = HEADER.unpack(head)
    return _read(connection, size), files


def _read(connection: socket.socket, size: int) -> bytes:
    received = bytearray(size)
    at = 0
    while at < size and (count := connection.recv_into(memoryview(received)[at:])):
        at += count
    return bytes(received[:at])


def _respond(handler: Any, request: bytes, files: Sequence[BinaryIO]) -> tuple[int, bytes]:
    try:
        return OK, handler.handle(request, files)
    except InputRefused as error:
        return REFUSED, msgspec.msgpack.encode(RefusedFrame(error.code, error.message, error.details))
    except MemoryError:
        return NO_MEMORY, b""
    except Exception:  # the parent decides what a fault of ours means
        return FAILED, traceback.format_exc().encode()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
