"""Resident memory of the processes that a stack's child consists of, at the end of the measures."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from scripts.local.bench.figures import Figure, at_most, part
from scripts.local.supabase.processes import Child

SERVICE_MB = 400
SERVING_MB = 110
CONSUMERS_MB = 150
SANDBOX_MODULE = "backend.sandbox.worker"


class Process(Struct, frozen=True):
    command: str
    resident_mb: float


def memory(service: Child, consumers: Child) -> list[Figure]:
    """The process that serves, its supervisor, which imports the same code, and the sandbox workers."""
    processes = list(process_tree(service.pid))
    workers = [each.resident_mb for each in processes if SANDBOX_MODULE in each.command]
    own = sorted(each.resident_mb for each in processes if SANDBOX_MODULE not in each.command)
    whole = sum(each.resident_mb for each in process_tree(consumers.pid))
    return [
        at_most("resident memory, service", sum(own) + sum(workers), "MB", SERVICE_MB),
        at_most("  of it the process that serves", own[-1], "MB", SERVING_MB),
        part("  of it its supervisor", sum(own[:-1]), "MB"),
        part(f"  of it sandbox workers, {len(workers)}", sum(workers), "MB"),
        at_most("resident memory, consumers", whole, "MB", CONSUMERS_MB),
    ]


def process_tree(pid: int) -> Iterator[Process]:
    """The process and its descendants; one that ends meanwhile is left out."""
    waiting = [pid]
    while waiting:
        folder = Path(f"/proc/{waiting.pop()}")
        with suppress(OSError):
            status, command = (folder / "status").read_text(), (folder / "cmdline").read_bytes()
            for task in (folder / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
            if "VmRSS:" in status:
                kilobytes = int(status.split("VmRSS:", 1)[1].split()[0])
                yield Process(command.replace(b"\0", b" ").decode(errors="replace"), kilobytes / 1024)
