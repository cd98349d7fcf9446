"""`python -m scripts bench`: every figure of the service, beside a floor from the same run."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from msgspec import Struct
from msgspec.structs import fields

from backend.settings.limits import LimitSettings
from scripts.local.bench import measures
from scripts.local.bench.attempt_cost import attempt_cost
from scripts.local.bench.chaos import SCENARIOS, recovered_throughput
from scripts.local.bench.cleaning import cleaning
from scripts.local.bench.figures import Figure, show, slower, write
from scripts.local.bench.hearable import hearable
from scripts.local.bench.job_slots import job_slots
from scripts.local.bench.lifecycles import lifecycles
from scripts.local.bench.listeners import listeners
from scripts.local.bench.memory import memory
from scripts.local.bench.notify import notify_curve, show_point, write_curve
from scripts.local.bench.seed import Bench, queries, upload_prepared
from scripts.local.bench.storm import useful_throughput
from scripts.local.dev import FAULTS, cancelled_by_signal
from scripts.local.product import service_settings
from scripts.local.sample import speak_sample
from scripts.local.supabase.processes import Child
from scripts.local.supabase.stack import Stack, running_stack
from scripts.migrations import ROOT

ATTEMPTS = 1_000_000
DELAYED = 200_000
SAMPLE_TEXT = (
    "This is a sample, spoken for a benchmark, and longer than the five seconds that it must be at least."
)


class Measure(Struct, frozen=True):
    run: Callable[[Bench], Awaitable[list[Figure]]]
    consumes: bool = False  # in place of the consumers, which are stopped meanwhile
    again: bool = True  # in the full database


MEASURES = {
    # First, before others leave free space in the tables; it costs the same however many attempts there are.
    "attempt-cost": Measure(attempt_cost, again=False),
    "launch-gate": Measure(measures.launch_gate),
    "upload-url": Measure(measures.upload_url),
    "lifecycles": Measure(lifecycles),
    "messages": Measure(measures.messages, consumes=True),
    "mirrors": Measure(measures.mirrors, consumes=True),
    "sweep": Measure(measures.sweep, consumes=True),
    "job-slots": Measure(job_slots, consumes=True, again=False),
    "hearable": Measure(hearable, again=False),
    "memory": Measure(memory, again=False),
    "listeners": Measure(listeners),
}
CLEANING = "cleaning"  # without a stack
STORM, CHAOS = "storm", "chaos"  # on stacks of their own, which they may break
NAMES = [*MEASURES, CLEANING, STORM, CHAOS]
FOLDER = ROOT / ".local" / "bench"


def bench(
    full: Annotated[
        bool, typer.Option(help="Again with a million attempts and 200,000 delayed messages.")
    ] = True,
    only: Annotated[str, typer.Option(help=f"One of: {', '.join(NAMES)}.")] = "",
    notify: Annotated[
        bool, typer.Option("--notify", help="Only how long commits take with NOTIFY and without, as a curve.")
    ] = False,
) -> None:
    """Measure the service on a stack of its own, print each figure beside its floor and its aim.

    Writes .local/bench.json, or .local/bench-notify.json with --notify. Takes some minutes.

    Needs: the extra `local` and the Node packages of a checkout (`make` installs both).

    Exit codes: 0 measured, also where an aim is missed; 1 an unknown measure, or the stack did not start.

    Example: likeness bench --no-full --only attempt-cost
    """
    if only and only not in NAMES:
        sys.exit(f"there is no measure {only!r}; there are {', '.join(NAMES)}")
    try:
        names = [only] if only else NAMES
        asyncio.run(cancelled_by_signal(run_notify() if notify else run(full, names)))
    except FAULTS as error:
        sys.exit(str(error))


async def run_notify() -> None:
    async with started() as (bench, consumers):
        with stopped(consumers):
            points = []
            async for point in notify_curve(bench):
                points.append(point)
                show_point(point)
    write_curve(points, ROOT / ".local" / "bench-notify.json")
    sys.stdout.write("written to .local/bench-notify.json\n")


async def run(full: bool, names: Sequence[str]) -> None:
    figures: list[Figure] = []
    for figure in await cleaning() if CLEANING in names else ():
        figures.append(figure)
        show(figure)
    if STORM in names:
        figures += await useful_throughput(await emptied(FOLDER / STORM))
        show(figures[-1])
    for scenario in SCENARIOS if CHAOS in names else ():
        async for figure in recovered_throughput(await emptied(FOLDER / CHAOS), scenario):
            figures.append(figure)
            show(figure)
    if measures := [name for name in names if name in MEASURES]:
        await run_measures(figures, measures, full)
    write(figures, ROOT / ".local" / "bench.json")
    sys.stdout.write("written to .local/bench.json\n")


async def run_measures(figures: list[Figure], names: Sequence[str], full: bool) -> None:
    async with started() as (bench, consumers):
        again = [name for name in names if full and MEASURES[name].again]
        once = [name for name in names if name not in again]
        unrepeated = [figure async for figure in measured(once, bench, consumers)]
        figures += unrepeated
        first = [figure async for figure in measured(again, bench, consumers)]
        figures += first
        for figure in (*unrepeated, *first):
            show(figure)
        if again:
            await asyncio.to_thread(fill, bench)
            full_database = measured(again, bench, consumers)
            for before in first:
                after = await anext(full_database)
                figures.append(slower(before, after, higher_is_better=before.unit.endswith("/s")))
                show(figures[-1])


async def measured(names: Sequence[str], bench: Bench, consumers: Child) -> AsyncIterator[Figure]:
    """In the order of MEASURES."""
    for name in names:
        measure = MEASURES[name]
        with stopped(consumers) if measure.consumes else nullcontext():
            for figure in await measure.run(bench):
                yield figure


class stopped:  # noqa: N801 - reads as a clause
    """SIGSTOP, and SIGCONT afterwards."""

    def __init__(self, child: Child) -> None:
        self._pid = child.pid

    def __enter__(self) -> None:
        os.kill(self._pid, 19)

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, 18)


@asynccontextmanager
async def started() -> AsyncIterator[tuple[Bench, Child]]:
    """A new stack with the product on it, and its consumers."""
    folder = await emptied(FOLDER / "stack")
    async with running_stack(folder, realtime=False) as stack:
        consumers = await start(stack)
        sample = folder / "sample.wav"
        await asyncio.to_thread(speak_sample, sample, SAMPLE_TEXT)
        prepared = await upload_prepared(stack, await asyncio.to_thread(sample.read_bytes))
        yield Bench(stack, prepared), consumers


async def emptied(folder: Path) -> Path:
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return folder


NO_RATE_LIMITS = {field.encode_name: "0" for field in fields(LimitSettings) if field.type is not str}


async def start(stack: Stack) -> Child:
    """Simulator that answers at once, service with the floor's route, consumers, which are returned."""
    python, processes = sys.executable, stack.processes
    stack.simulator_url = f"http://127.0.0.1:{stack.ports.take()}"
    stack.api_url = f"http://127.0.0.1:{stack.ports.take()}"
    port = stack.simulator_url.rsplit(":", 1)[1]
    env = {
        **service_settings(stack, "qwen"),
        "LOG_LEVEL": "warning",
        "PREVIEW_REQUIRED": "false",
        **NO_RATE_LIMITS,  # a few users make all the requests
        "QWEN_VOICE_SLOTS": "0",  # more voices are made here than an account holds
    }
    command = [python, "-m", "scripts.local.simulator", "--port", port, "--instant"]
    simulator = await processes.start("simulator", command, {}, cwd=ROOT)
    service = await processes.start("service", [python, "-m", "scripts.local.bench.serve"], env, cwd=ROOT)
    env["LOG_LEVEL"] = "info"  # the line that it listens
    consumers = await processes.start("consumers", [python, "-m", "queue_consumers"], env, cwd=ROOT)
    await simulator.await_output("provider simulator:")
    await service.await_url(f"{stack.api_url}/health/ready")
    await consumers.await_output("listening")
    return consumers


def fill(bench: Bench) -> None:
    sys.stdout.write(f"filling the database: {ATTEMPTS:,} attempts, {DELAYED:,} delayed messages …\n")
    users = bench.users(1000)
    bench.run(queries.fill_attempts, {"users": users, "count": ATTEMPTS}, past_triggers=True)
    bench.run(queries.fill_delayed, {"count": DELAYED})
    with psycopg.connect(bench.stack.cluster.dsn(), autocommit=True) as connection:
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")  # or the disk is busy with the filling while the rest is measured
