"""What the service logs at start where the kernel refuses a restriction. Here it is made to refuse one."""

import asyncio
import subprocess
import sys

import msgspec
import pytest

from backend.sandbox.pool import WorkerPool
from scripts.migrations import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the restrictions are Linux's")

# landlock_create_ruleset (444 on every architecture) is answered with EPERM from here on.
WITHOUT_LANDLOCK = """
import ctypes, struct

class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

steps = (0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = Program(len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
"""
REPORT = """
import asyncio
from backend.web.logs import configure_logging
from backend.app.sandbox_report import report_sandbox

configure_logging("info", "json")
asyncio.run(report_sandbox())
"""


def report(before: str = "") -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-c", before + REPORT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [msgspec.json.decode(line) for line in (done.stdout + done.stderr).splitlines()]


async def refused_here() -> list[str]:
    pool = WorkerPool("backend.sandbox.report", size=1)
    try:
        return msgspec.json.decode(await pool.run(b""), type=list[str])
    finally:
        await pool.aclose()


def test_a_restriction_that_the_kernel_refuses_is_logged_once_at_start() -> None:
    (line,) = report(WITHOUT_LANDLOCK)
    assert (line["event"], line["level"]) == ("sandbox_degraded", "warning")
    assert isinstance(line["refused"], list)
    assert "files" in line["refused"]


def test_nothing_is_logged_where_every_restriction_holds() -> None:
    refused = asyncio.run(refused_here())
    assert [line["refused"] for line in report()] == ([refused] if refused else [])
