"""The worker process: hands each request from its socket to a job, until the socket closes.

`main(MODULE, MEMORY_BYTES, CPU_SECONDS, PARENT)`, where MODULE has `handle(request, files) -> bytes`. It may
have `load()`, for what takes time: it runs once, before the restrictions; and `MAY_FORK`, where its jobs
start processes of their own.

On Linux a job is a process that is forked from the worker, with all that is loaded. The input may be hostile:
what it does to its job ends with the job, and the worker itself reads none of it. Memory is bounded for each
process, CPU time for each job; the rest: restrictions.py.
"""

import contextlib
import gc
import math
import os
import resource
import select
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
from backend.sandbox.restrictions import restrict_job, restrict_this_process

MAX_FILE_BYTES = 64 << 20
MAX_OPEN_FILES = 64
MAX_THREADS = 256
CLOSED = 3  # the exit code of a job that found the socket closed
JOBS_ARE_PROCESSES = sys.platform == "linux"  # elsewhere libraries do not survive a fork


def main(module: str, memory_bytes: int, cpu_seconds: int, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the process group; the parent decides
    # One thread each: the pool's size is the parallelism. Libraries read it when they are loaded.
    # The limit binds those that ask for more: with four threads the detector of voices mostly waits for them.
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", OMP_THREAD_LIMIT="1")
    connection = _take_socket()
    handler = import_module(module)
    getattr(handler, "load", lambda: None)()
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_FSIZE, MAX_FILE_BYTES)
    _limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    was = os.getuid()
    restrict_this_process(module, parent)
    if os.getuid() not in {was, 0}:  # the count is the user's, and this user is the worker's own
        _limit(resource.RLIMIT_NPROC, MAX_THREADS)
    gc.freeze()  # a job's collections write to no memory that it shares with the worker
    worker, requests, may_fork = os.getpid(), select.poll(), getattr(handler, "MAY_FORK", False)
    requests.register(connection, select.POLLIN)
    while True:
        requests.poll()  # the job reads it
        if not JOBS_ARE_PROCESSES:
            _limit_cpu(cpu_seconds)
            if _do_one(handler, connection) == CLOSED:
                return
        elif job := os.fork():
            _end_as(os.waitpid(job, 0)[1])
        else:
            restrict_job(worker, may_fork=may_fork)
            _limit_cpu(cpu_seconds)
            os._exit(_do_one(handler, connection))


def _do_one(handler: Any, connection: socket.socket) -> int:
    """The exit code of the job."""
    received = _receive(connection)
    if received is None:
        return CLOSED
    request, files = received
    status, response = _respond(handler, request, [cast(BinaryIO, each) for each in files])
    connection.sendall(HEADER.pack(status, len(response)))
    connection.sendall(response)
    return 0


def _end_as(status: int) -> None:
    """A job that did not end by itself ends its worker in the same way: the pool then knows why."""
    if os.WIFSIGNALED(status):
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    if os.WEXITSTATUS(status):
        os._exit(os.WEXITSTATUS(status))


def _take_socket() -> socket.socket:
    """The socket, under another descriptor: what a C library prints goes to stderr, not into a response."""
    connection = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return connection


def _limit_cpu(seconds: int) -> None:
    """From now on. It can be raised again, where one process does all jobs."""
    _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + seconds, for_good=JOBS_ARE_PROCESSES)


def _limit(kind: int, amount: int, *, for_good: bool = True) -> None:
    """Lowers a limit. macOS refuses some kinds. The kernel kills at once who passes the hard limit."""
    _, hard = resource.getrlimit(kind)
    soft = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
    past = 1 if kind == resource.RLIMIT_CPU else 0  # or the end would not tell that it was the CPU time
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (soft, soft + past if for_good else hard))


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
