"""A small pool of processes for jobs that are heavy, or that hostile input could crash or hang.

A worker starts when a job needs one, stays for the next jobs, and ends after IDLE_SECONDS without one.
A worker that dies, or is killed at its deadline, fails only its own job. Workers see nothing of the
environment: no key, no address, no open connection.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from enum import StrEnum
from pathlib import Path

import msgspec

from backend.sandbox.errors import InputRefused
from backend.sandbox.frames import HEADER, NO_MEMORY, OK, REFUSED, RefusedFrame

IDLE_SECONDS = 60.0
ROOT = Path(__file__).parents[2]
KEPT_VARIABLES = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SYSTEMROOT",
)


class Reason(StrEnum):
    DEADLINE = "deadline"  # killed: wall time, or the kernel's limit on CPU time
    CRASH = "crash"  # the process died by itself
    MEMORY = "memory"
    FAULT = "fault"  # an exception in the job's own code
    CLOSED = "closed"  # the pool was closed


class WorkerFailure(Exception):  # noqa: N818 - a failure of the worker, not the job's own error
    """A job ended without a response. `detail` is for the log, never for the user."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class WorkerPool:
    """Runs `handle(request)` of a module in a child process. Close it with `aclose`."""

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
        self._arguments = ("-m", "backend.sandbox.worker", module, str(memory_bytes), str(cpu_seconds))
        self._wall_seconds = wall_seconds
        self._idle_seconds = idle_seconds
        self._free = asyncio.Semaphore(size)
        self._workers: set[Process] = set()
        self._idle: deque[tuple[float, Process]] = deque()  # since when, oldest first
        self._reaper: asyncio.Task[None] | None = None  # runs while a worker is idle
        self._closed = False

    @property
    def process_ids(self) -> list[int]:
        return [worker.pid for worker in self._workers if worker.returncode is None]

    async def run(self, request: bytes) -> bytes:
        """Raises InputRefused when the job refuses its input, and WorkerFailure when no response comes."""
        async with self._free:
            worker = await self._take()
            try:
                async with asyncio.timeout(self._wall_seconds):
                    status, response = await _exchange(worker, request)
            except BaseException as error:  # CancelledError too: this worker is still busy with the job
                await self._end(worker)
                if isinstance(error, EOFError | OSError):  # a TimeoutError is an OSError
                    raise self._post_mortem(worker, error) from error
                raise
            if status == NO_MEMORY:  # its heap may be fragmented
                await self._end(worker)
                raise WorkerFailure(Reason.MEMORY)
            self._keep(worker)
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

    async def _take(self) -> Process:
        """The worker that was used last, so that the others can end; a new one where none is idle."""
        if self._closed:
            raise WorkerFailure(Reason.CLOSED)
        while self._idle:
            _, worker = self._idle.pop()
            if worker.returncode is None:
                return worker
            await self._end(worker)
        worker = await asyncio.create_subprocess_exec(
            sys.executable, *self._arguments, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=_environment()
        )
        self._workers.add(worker)
        return worker

    def _keep(self, worker: Process) -> None:
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

    async def _end(self, worker: Process) -> None:
        if worker.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)  # worker.kill() may reap it and lose the exit code
        if worker.stdin is not None:
            worker.stdin.close()
        await worker.wait()
        self._workers.discard(worker)

    def _post_mortem(self, worker: Process, error: Exception) -> WorkerFailure:
        if self._closed:
            return WorkerFailure(Reason.CLOSED)
        if isinstance(error, TimeoutError):
            return WorkerFailure(Reason.DEADLINE, f"{self._wall_seconds} s")
        if worker.returncode == -signal.SIGXCPU:
            return WorkerFailure(Reason.DEADLINE, "CPU time")
        return WorkerFailure(Reason.CRASH, f"exit code {worker.returncode}")


async def _exchange(worker: Process, request: bytes) -> tuple[int, bytes]:
    assert worker.stdin is not None  # noqa: S101 - both are pipes
    assert worker.stdout is not None  # noqa: S101
    worker.stdin.write(HEADER.pack(OK, len(request)) + request)
    await worker.stdin.drain()
    status, size = HEADER.unpack(await worker.stdout.readexactly(HEADER.size))
    return status, await worker.stdout.readexactly(size)


def _environment() -> dict[str, str]:
    """One thread each: the pool's size is the parallelism."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
