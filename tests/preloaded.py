"""Processes of tests, forked from one that has imported their modules: so a start costs little CPU time.

What runs is `python -m MODULE` in a session of its own, with the environment that is given.
"""

import asyncio
import gc
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from tempfile import TemporaryFile
from typing import BinaryIO

from scripts.local.supabase.processes import Launch
from scripts.migrations import ROOT
from scripts.parent_death import die_with_parent

MODULES = (
    "backend.app.service",
    "backend.app.server",
    "queue_consumers.__main__",
    "scripts.local.supabase.gateway",
    "scripts.verify",
    "scripts.voices",
    "tests.backend.faults",
)
REQUESTS = threading.Lock()  # one is written at a time
NUMBER = struct.Struct("<i")  # a process id, an exit code, or the length of a request


class Forked:
    """A process that the preloaded one started; it reports its id and its exit."""

    def __init__(self, pid: int, reports: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.create_task(self._await_end(reports))

    async def _await_end(self, reports: socket.socket) -> int:
        with reports:
            self.returncode = await received(reports)
        return self.returncode

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)


async def received(reports: socket.socket) -> int:
    answer = await asyncio.get_running_loop().sock_recv(reports, NUMBER.size)
    if not answer:
        raise ConnectionError("the preloaded process ended")
    return NUMBER.unpack(answer)[0]


def launch(module: str, *arguments: str, env: Mapping[str, str]) -> Launch:
    """`python -m MODULE ARGUMENTS`, as a child of Processes. It ends with this process."""

    async def start(output: BinaryIO) -> Forked:
        reports = requested([module, *arguments], os.environ | env, output, output)
        reports.setblocking(False)
        return Forked(await received(reports), reports)

    return start


def command(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """`likeness ARGUMENTS` to its end, with this environment and no other."""
    with TemporaryFile() as output, TemporaryFile() as errors:
        with requested(["scripts", *arguments], env, output, errors) as reports:
            _pid, code = (NUMBER.unpack(reports.recv(NUMBER.size, socket.MSG_WAITALL))[0] for _ in range(2))
        texts = (
            os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in (output, errors)
        )
        return subprocess.CompletedProcess(arguments, code, *texts)


def requested(
    arguments: list[str], env: Mapping[str, str], output: BinaryIO, errors: BinaryIO
) -> socket.socket:
    """Where a new process reports its id, and later its exit code."""
    request = json.dumps([arguments, dict(env)]).encode()
    reports, theirs = socket.socketpair()
    with theirs, REQUESTS:
        control, _ = started()
        descriptors = [output.fileno(), errors.fileno(), theirs.fileno()]
        socket.send_fds(control, [NUMBER.pack(len(request))], descriptors)
        control.sendall(request)
    return reports


@cache
def started() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The process with the modules, which is started when first needed, and where it takes requests."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.preloaded"],
            stdin=theirs.fileno(),
            cwd=ROOT,
            preexec_fn=die_with_parent(),
        )
    return ours, process


def serve(control: socket.socket) -> None:
    """Forks one process for each request, and reports each exit, until the other end closes."""
    for module in MODULES:
        import_module(module)
    gc.freeze()
    exits, wake = socket.socketpair()
    for end in (exits, wake):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control, exits], [], [])
        if exits in ready:
            exits.recv(1024)
            report_exits(running)
        if control in ready:
            size, descriptors, _, _ = socket.recv_fds(control, NUMBER.size, 3)
            if not size:
                return
            request = control.recv(NUMBER.unpack(size)[0], socket.MSG_WAITALL)
            output, errors, reports = descriptors
            pid = fork(request, output, errors)
            os.close(output)
            os.close(errors)
            running[pid] = socket.socket(fileno=reports)
            running[pid].sendall(NUMBER.pack(pid))


def report_exits(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as reports, suppress(BrokenPipeError):
            reports.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def fork(request: bytes, output: int, errors: int) -> int:
    command, environment = json.loads(request)
    end_with_parent = die_with_parent()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if end_with_parent:
            end_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.dup2(output, 1)
        os.dup2(errors, 2)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.closerange(3, 4096)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = command
        for name in (command[0], f"{command[0]}.__main__"):  # it runs as __main__: runpy would warn
            sys.modules.pop(name, None)
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = exit_code(end)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def exit_code(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    serve(socket.socket(fileno=os.dup(0)))
