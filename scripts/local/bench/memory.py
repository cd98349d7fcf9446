"""Resident memory of service and consumers, process by process, after lifecycles and an inspected sample."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
from msgspec import Struct

from scripts.local.bench.figures import Figure, at_most, part
from scripts.local.bench.lifecycles import WARMING_LIFECYCLES, lifecycles_per_second
from scripts.local.bench.seed import Bench
from scripts.local.main_job import Client, upload_sample

SERVICE_MB = 400
SERVING_MB = 110
CONSUMERS_MB = 150
SANDBOX_MODULE = "backend.sandbox.worker"


class Process(Struct, frozen=True):
    command: str
    resident_mb: float


async def memory(bench: Bench) -> list[Figure]:
    """The process that serves, its supervisor, and the sandbox workers that inspected a sample."""
    await lifecycles_per_second(bench, WARMING_LIFECYCLES)
    await finalize_sample(bench)
    pids = {child.name: child.pid for child in bench.stack.processes.children}
    processes = list(process_tree(pids["service"]))
    workers = [each.resident_mb for each in processes if SANDBOX_MODULE in each.command]
    own = sorted(each.resident_mb for each in processes if SANDBOX_MODULE not in each.command)
    consumers = sum(each.resident_mb for each in process_tree(pids["consumers"]))
    return [
        at_most("resident memory, service", sum(own) + sum(workers), "MB", SERVICE_MB),
        at_most("  of it the process that serves", own[-1], "MB", SERVING_MB),
        part("  of it its supervisor", sum(own[:-1]), "MB"),
        part(f"  of it sandbox workers, {len(workers)}", sum(workers), "MB"),
        at_most("resident memory, consumers", consumers, "MB", CONSUMERS_MB),
    ]


async def finalize_sample(bench: Bench) -> None:
    content = await asyncio.to_thread((bench.stack.directory / "sample.wav").read_bytes)
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        client = Client(bench.stack, http)
        await client.sign_up()
        consent = (await client.service("POST", "/v1/consents", json={"version": 1})).json()
        upload = await upload_sample(client, content, consent["consent_id"], None, "elevenlabs")
        body = {"voice_id": upload["voice_id"], "name": "bench", "language": "en"}
        await client.service("POST", "/api/clone/finalize", json=body)


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
