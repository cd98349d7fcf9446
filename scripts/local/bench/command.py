"""`python -m scripts bench`: every figure of the service, beside a floor from the same run."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from scripts.local.bench import measures
from scripts.local.bench.figures import Figure, at_most, show, slower, write
from scripts.local.bench.listeners import listeners
from scripts.local.bench.measures import Bench, queries
from scripts.local.bench.storm import useful_throughput
from scripts.local.dev import FAULTS, cancelled_by_signal
from scripts.local.sample import speak_sample
from scripts.local.supabase.processes import Child
from scripts.local.supabase.services import service_settings
from scripts.local.supabase.stack import Stack, running_stack
from scripts.migrations import ROOT

ATTEMPTS = 1_000_000
DELAYED = 200_000
SAMPLE_TEXT = "This is a short sample, spoken for a benchmark, and a little longer than it must be."
# What each measures, and whether it plays the consumer, so that the real ones must stand still meanwhile.
MEASURES: dict[str, tuple[Callable[[Bench], Awaitable[list[Figure]]], bool]] = {
    "launch-gate": (measures.launch_gate, False),
    "upload-url": (measures.upload_url, False),
    "lifecycles": (measures.lifecycles, False),
    "messages": (measures.messages, True),
    "mirrors": (measures.mirrors, True),
    "sweep": (measures.sweep, True),
    "listeners": (listeners, False),
}
STORM = "storm"
SERVICE_MB = 400
CONSUMER_MB = 150


def bench(
    full: Annotated[
        bool, typer.Option(help="Again with a million attempts and 200,000 delayed messages.")
    ] = True,
    only: Annotated[
        str, typer.Option(help=f"One of: {', '.join([*MEASURES, STORM])}; memory is left out then.")
    ] = "",
) -> None:
    """Measure, print, and write .local/bench.json. Takes some minutes."""
    if only and only not in {*MEASURES, STORM}:
        sys.exit(f"there is no measure {only!r}; there are {', '.join([*MEASURES, STORM])}")
    try:
        asyncio.run(cancelled_by_signal(run(full, [only] if only else [*MEASURES, STORM])))
    except FAULTS as error:
        sys.exit(str(error))


async def run(full: bool, names: Sequence[str]) -> None:
    folder = ROOT / ".local" / "bench"
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    figures: list[Figure] = []
    if STORM in names:  # on a stack of its own, which it may break
        figures += await useful_throughput(folder / STORM)
        names = [name for name in names if name != STORM]
    if names:
        await run_measures(folder, figures, names, full)
    else:
        show(figures[0])
    write(figures, ROOT / ".local" / "bench.json")
    sys.stdout.write("written to .local/bench.json\n")


async def run_measures(folder: Path, figures: list[Figure], names: Sequence[str], full: bool) -> None:
    async with running_stack(folder) as stack:
        service, consumers = await start(stack)
        sample = folder / "sample.wav"
        await asyncio.to_thread(speak_sample, sample, SAMPLE_TEXT)
        prepared = await measures.upload_prepared(stack, await asyncio.to_thread(sample.read_bytes))
        bench = Bench(stack, prepared)
        first = [figure async for figure in measured(names, bench, consumers)]
        figures += first
        if list(names) == list(MEASURES):
            figures += [
                at_most("resident memory, service", resident_mb(service), "MB", SERVICE_MB),
                at_most("resident memory, consumers", resident_mb(consumers), "MB", CONSUMER_MB),
            ]
        for figure in figures:
            show(figure)
        if full:
            await asyncio.to_thread(fill, bench)
            again = measured(names, bench, consumers)
            for before in first:
                after = await anext(again)
                figures.append(slower(before, after, higher_is_better=before.unit.endswith("/s")))
                show(figures[-1])


async def measured(names: Sequence[str], bench: Bench, consumers: Child) -> AsyncIterator[Figure]:
    """In the order of MEASURES."""
    for name in names:
        measure, consumes_itself = MEASURES[name]
        with stopped(consumers) if consumes_itself else nullcontext():
            for figure in await measure(bench):
                yield figure


class stopped:  # noqa: N801 - reads as a clause
    """SIGSTOP, and SIGCONT afterwards."""

    def __init__(self, child: Child) -> None:
        self._pid = child.pid

    def __enter__(self) -> None:
        os.kill(self._pid, 19)

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, 18)


async def start(stack: Stack) -> tuple[Child, Child]:
    """Simulator that answers at once, service with the floor's route, consumers."""
    python, processes = sys.executable, stack.processes
    stack.simulator_url = f"http://127.0.0.1:{stack.ports.take()}"
    stack.api_url = f"http://127.0.0.1:{stack.ports.take()}"
    port = stack.simulator_url.rsplit(":", 1)[1]
    env = {
        **service_settings(stack, "qwen"),
        "LOG_LEVEL": "warning",
        "PREVIEW_REQUIRED": "false",
        "QWEN_VOICE_SLOTS": "0",  # more voices are made here than an account holds
    }
    command = [python, "-m", "scripts.local.simulator", "--port", port, "--instant"]
    simulator = await processes.start("simulator", command, {}, cwd=ROOT)
    service = await processes.start("service", [python, "-m", "scripts.local.bench.server"], env, cwd=ROOT)
    env["LOG_LEVEL"] = "info"  # it says when it listens
    consumers = await processes.start("consumers", [python, "-m", "queue_consumers"], env, cwd=ROOT)
    await simulator.await_output("provider simulator:")
    await service.await_url(f"{stack.api_url}/health/ready")
    await consumers.await_output("listening")
    return service, consumers


def fill(bench: Bench) -> None:
    sys.stdout.write(f"filling the database: {ATTEMPTS:,} attempts, {DELAYED:,} delayed messages …\n")
    users = bench.users(1000)
    bench.run(queries.fill_attempts, {"users": users, "count": ATTEMPTS}, past_triggers=True)
    bench.run(queries.fill_delayed, {"count": DELAYED})
    with psycopg.connect(bench.stack.cluster.dsn(), autocommit=True) as connection:
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")  # or the disk is busy with the filling while the rest is measured


def resident_mb(child: Child) -> float:
    """Of the process and its descendants."""
    total, waiting = 0, [child.pid]
    while waiting:
        pid = waiting.pop()
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            total += int(status.split("VmRSS:", 1)[1].split()[0]) if "VmRSS:" in status else 0
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return total / 1024
