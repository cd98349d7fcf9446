"""The worker process: reads requests from stdin one after the other, until stdin closes.

`python -m backend.sandbox.worker MODULE MEMORY_BYTES CPU_SECONDS`, where MODULE has
`handle(request: bytes) -> bytes`. The input may be hostile: memory is bounded for the process, CPU time for
each request.
"""

import contextlib
import math
import os
import resource
import signal
import sys
import time
import traceback
from importlib import import_module
from typing import Any, BinaryIO

import msgspec

from backend.sandbox.errors import InputRefused
from backend.sandbox.frames import FAILED, HEADER, NO_MEMORY, OK, REFUSED, RefusedFrame

MAX_FILE_BYTES = 1 << 30


def main(module: str, memory_bytes: int, cpu_seconds: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the process group; the parent decides
    requests, responses = _take_pipes()
    handler = import_module(module)
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_FSIZE, MAX_FILE_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    while header := requests.read(HEADER.size):
        _, size = HEADER.unpack(header)
        request = requests.read(size)
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + cpu_seconds)
        status, response = _respond(handler, request)
        responses.write(HEADER.pack(status, len(response)))
        responses.write(response)
        responses.flush()


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes, under other descriptors: what a C library prints goes to stderr, not into a response."""
    requests, responses = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return requests, responses


def _limit(kind: int, amount: int) -> None:
    """Sets the soft limit, which each request may raise again. macOS refuses some kinds."""
    _, hard = resource.getrlimit(kind)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (amount if hard == resource.RLIM_INFINITY else min(amount, hard), hard))


def _respond(handler: Any, request: bytes) -> tuple[int, bytes]:
    try:
        return OK, handler.handle(request)
    except InputRefused as error:
        return REFUSED, msgspec.msgpack.encode(RefusedFrame(error.code, error.message, error.details))
    except MemoryError:
        return NO_MEMORY, b""
    except Exception:  # the parent decides what a fault of ours means
        return FAILED, traceback.format_exc().encode()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
