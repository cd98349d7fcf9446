"""A small pool of processes for jobs that are heavy, or that hostile input could crash or hang.

A worker starts when a job needs one, stays for the next jobs, and ends after IDLE_SECONDS without one.
A worker that dies, or is killed at its deadline, fails only its own job. Workers see nothing of the service:
no environment, no open connection, no file but those of the job, and no network (restrictions.py).
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct

from backend.sandbox.errors import InputRefused
from backend.sandbox.frames import HEADER, NO_MEMORY, OK, REFUSED, RefusedFrame

IDLE_SECONDS = 60.0
ROOT = Path(__file__).parents[2]
LOADER_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # some Pythons do not start without them
START = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from backend.sandbox.worker import main; main({module!r}, {limits})"
)


class Reason(StrEnum):
    DEADLINE = "deadline"  # killed: wall time, or the kernel's limit on CPU time
    CRASH = "crash"  # the process died by itself
    MEMORY = "memory"
    FAULT = "fault"  # an exception in the job's own code
    START = "start"  # no worker could be started
    CLOSED = "closed"  # the pool was closed


class WorkerFailure(Exception):  # noqa: N818 - a failure of the worker, not the job's own error
    """A job ended without a response. `detail` is for the log, never for the user."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Worker(Struct, frozen=True, eq=False):
    """A process and the socket to it. `descriptors` is the same socket, which can also send open files."""

    process: Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    descriptors: socket.socket


class WorkerPool:
    """Runs `handle(request, files)` of a module in a child process. Close it with `aclose`."""

    def __init__(
        self,
        module: str,
        *,
        size: int = 2,
        wall_seconds: float = 20.0,
        cpu_seconds: int = 10,
        memory_bytes: int = 512 << 20,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._module = module
        self._limits = (memory_bytes, cpu_seconds)
        self._wall_seconds = wall_seconds
        self._idle_seconds = idle_seconds
        self._free = asyncio.Semaphore(size)
        self._workers: set[Worker] = set()
        self._idle: deque[tuple[float, Worker]] = deque()  # since when, oldest first
        self._reaper: asyncio.Task[None] | None = None  # runs while a worker is idle
        self._closed = False

    @property
    def process_ids(self) -> list[int]:
        return [each.process.pid for each in self._workers if each.process.returncode is None]

    async def run(self, request: bytes, files: Sequence[int] = ()) -> bytes:
        """`files` are descriptors of open files, which the job may read and write.

        Raises InputRefused when the job refuses its input, and WorkerFailure when no response comes.
        """
        async with self._free:
            worker = await self._take()
            try:
                async with asyncio.timeout(self._wall_seconds):
                    status, response = await _exchange(worker, request, files)
            except BaseException as error:  # CancelledError too: this worker is still busy with the job
                await self._end(worker)
                if isinstance(error, EOFError | OSError):  # a TimeoutError is an OSError
                    raise self._post_mortem(worker, error) from error
                raise
            self._keep(worker)
        if status == NO_MEMORY:
            raise WorkerFailure(Reason.MEMORY)
        if status == OK:
            return response
        if status == REFUSED:
            refused = msgspec.msgpack.decode(response, type=RefusedFrame)
            raise InputRefused(refused.code, refused.message, refused.details)
        raise WorkerFailure(Reason.FAULT, response.decode())

    async def aclose(self) -> None:
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        for worker in list(self._workers):
            await self._end(worker)

    async def _take(self) -> Worker:
        """The worker that was used last, so that the others can end; a new one where none is idle."""
        if self._closed:
            raise WorkerFailure(Reason.CLOSED)
        while self._idle:
            _, worker = self._idle.pop()
            if worker.process.returncode is None:
                return worker
            await self._end(worker)
        try:
            worker = await start_worker(self._module, self._limits)
        except OSError as error:  # no memory, or too many processes or open files
            raise WorkerFailure(Reason.START, str(error)) from error
        self._workers.add(worker)
        return worker

    def _keep(self, worker: Worker) -> None:
        self._idle.append((time.monotonic(), worker))
        if self._reaper is None or self._reaper.done():
            self._reaper = asyncio.create_task(self._end_idle())

    async def _end_idle(self) -> None:
        """One task for all workers: it sleeps until the oldest is due, whatever jobs run meanwhile.

        A worker leaves `_idle` before it is killed, so no job can be given a worker that is about to end.
        """
        while self._idle:
            since, worker = self._idle[0]
            due = since + self._idle_seconds - time.monotonic()
            if due > 0:
                await asyncio.sleep(due)
            else:
                self._idle.popleft()
                await self._end(worker)

    async def _end(self, worker: Worker) -> None:
        """Kills the worker and what it may have started: they are one process group."""
        if worker.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(
                    worker.process.pid, signal.SIGKILL
                )  # process.kill() may reap it and lose the exit code
        worker.writer.close()
        worker.descriptors.close()
        await worker.process.wait()
        self._workers.discard(worker)

    def _post_mortem(self, worker: Worker, error: Exception) -> WorkerFailure:
        if self._closed:
            return WorkerFailure(Reason.CLOSED)
        if isinstance(error, TimeoutError):
            return WorkerFailure(Reason.DEADLINE, f"{self._wall_seconds} s")
        if worker.process.returncode == -signal.SIGXCPU:
            return WorkerFailure(Reason.DEADLINE, "CPU time")
        return WorkerFailure(Reason.CRASH, f"exit code {worker.process.returncode}")


async def start_worker(module: str, limits: tuple[int, ...]) -> Worker:
    """Python in isolated mode: it reads no environment, and only what is installed beside it."""
    code = START.format(
        root=str(ROOT), module=module, limits=", ".join(str(each) for each in (*limits, os.getpid()))
    )
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as unused:
        unused.enter_context(ours)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-X", "utf8", "-c", code),
                stdin=theirs.fileno(),
                stdout=DEVNULL,
                stderr=DEVNULL,
                env={name: os.environ[name] for name in LOADER_VARIABLES if name in os.environ},
                start_new_session=True,
            )
        descriptors = unused.enter_context(ours.dup())
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        unused.pop_all()
    return Worker(process, reader, writer, descriptors)


async def _exchange(worker: Worker, request: bytes, files: Sequence[int]) -> tuple[int, bytes]:
    header = HEADER.pack(OK, len(request))
    if files:  # the worker has read all that was sent before, so there is room for the header
        socket.send_fds(worker.descriptors, [header], files)
    else:
        worker.writer.write(header)
    worker.writer.write(request)
    await worker.writer.drain()
    status, size = HEADER.unpack(await worker.reader.readexactly(HEADER.size))
    return status, await worker.reader.readexactly(size)
