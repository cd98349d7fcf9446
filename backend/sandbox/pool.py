"""A small pool of processes for work that is heavy, or that hostile input could make crash or run away.

A worker starts when it is first needed and stays. One that dies, or misses the deadline and is killed, takes
only its own job with it. Workers see nothing of the environment: no key, no address, no open connection.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from enum import StrEnum
from pathlib import Path

import msgspec

from backend.sandbox.errors import InputRefused
from backend.sandbox.frames import HEADER, NO_MEMORY, OK, REFUSED, Refusal

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
    CRASH = "crash"  # it died, and not by our hand
    MEMORY = "memory"
    FAULT = "fault"  # a Python exception: a fault of ours
    CLOSED = "closed"  # the pool


class WorkerFailure(Exception):  # noqa: N818 - a failure of the worker, told apart from the job's own error
    """A job ended without an answer. `detail` is for the log, never for the user."""

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
    ) -> None:
        self._arguments = ("-m", "backend.sandbox.worker", module, str(memory_bytes), str(cpu_seconds))
        self._wall_seconds = wall_seconds
        self._free = asyncio.Semaphore(size)
        self._workers: set[Process] = set()
        self._idle: list[Process] = []
        self._closed = False

    @property
    def process_ids(self) -> list[int]:
        return [worker.pid for worker in self._workers if worker.returncode is None]

    async def run(self, request: bytes) -> bytes:
        """The answer; InputRefused when the job refuses its input, WorkerFailure when it got no answer."""
        async with self._free:
            worker = await self._take()
            try:
                async with asyncio.timeout(self._wall_seconds):
                    status, answer = await _ask(worker, request)
            except BaseException as error:  # cancelled, too: a worker amid a job is of no use to the next
                await self._end(worker)
                if isinstance(error, EOFError | OSError):  # a TimeoutError is an OSError
                    raise self._post_mortem(worker, error) from error
                raise
            if status == NO_MEMORY:  # its heap may be in pieces
                await self._end(worker)
                raise WorkerFailure(Reason.MEMORY)
            self._idle.append(worker)
        if status == OK:
            return answer
        if status == REFUSED:
            refusal = msgspec.msgpack.decode(answer, type=Refusal)
            raise InputRefused(refusal.code, refusal.message, refusal.details)
        raise WorkerFailure(Reason.FAULT, answer.decode())

    async def aclose(self) -> None:
        self._closed = True
        for worker in list(self._workers):
            await self._end(worker)

    async def _take(self) -> Process:
        if self._closed:
            raise WorkerFailure(Reason.CLOSED)
        while self._idle:
            worker = self._idle.pop()
            if worker.returncode is None:
                return worker
            await self._end(worker)
        worker = await asyncio.create_subprocess_exec(
            sys.executable, *self._arguments, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=_environment()
        )
        self._workers.add(worker)
        return worker

    async def _end(self, worker: Process) -> None:
        if worker.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)  # worker.kill() may reap it: no exit code
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


async def _ask(worker: Process, request: bytes) -> tuple[int, bytes]:
    assert worker.stdin is not None  # noqa: S101 - both are pipes
    assert worker.stdout is not None  # noqa: S101
    worker.stdin.write(HEADER.pack(OK, len(request)) + request)
    await worker.stdin.drain()
    status, size = HEADER.unpack(await worker.stdout.readexactly(HEADER.size))
    return status, await worker.stdout.readexactly(size)


def _environment() -> dict[str, str]:
    """One thread each: the pool is the parallelism, and threads would not survive a fork."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
