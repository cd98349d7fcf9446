"""How long a transition takes to commit, with its notifications and without, at rising rates.

NOTIFY takes a lock of the whole cluster until the commit is on disk, so transactions that notify commit one
after the other.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import psycopg
from msgspec import Struct

from backend.database.queries import load_queries
from scripts.local.bench.messages import percentile
from scripts.local.bench.seed import Bench
from scripts.parent_death import die_with_parent

queries = load_queries(__file__)
RATES = (250, 500, 1_000, 1_500, 2_000)
CONNECTIONS = 32
ATTEMPTS_EACH = 100  # of a connection
SECONDS = 5
WARMING_SECONDS = 2
SCRIPT = f"\\set n random(1, {ATTEMPTS_EACH})\n{queries.transition};\n"


class Latency(Struct, frozen=True):
    """Milliseconds from the statement to the end of its commit."""

    rate: float  # transitions/s that were reached
    p50: float
    p99: float


class Point(Struct, frozen=True):
    wanted_rate: int
    without_notify: Latency
    with_notify: Latency


async def notify_curve(bench: Bench) -> AsyncIterator[Point]:
    """The consumers are stopped, and still listen; the service listens as well."""
    user = bench.users(1)[0]
    parameters = {"user": user, "connections": CONNECTIONS, "each": ATTEMPTS_EACH}
    bench.run(queries.attempts, parameters, past_triggers=True)
    await transitions(bench, RATES[-1], WARMING_SECONDS)
    for rate in RATES:
        with without_notify(bench):
            quiet = await transitions(bench, rate, SECONDS)
        yield Point(rate, quiet, await transitions(bench, rate, SECONDS))


@contextmanager
def without_notify(bench: Bench) -> Iterator[None]:
    """Functions that call `concat` where they call `pg_notify`."""
    definitions = bench.run(queries.notifying, {})
    with psycopg.connect(bench.stack.cluster.dsn(), autocommit=True) as connection:
        for definition in definitions:
            connection.execute(definition.replace("pg_notify(", "concat(").encode())
        try:
            yield
        finally:
            for definition in definitions:
                connection.execute(definition.encode())


async def transitions(bench: Bench, rate: int, seconds: int) -> Latency:
    """By pgbench, which costs little of the processors that Postgres needs."""
    cluster = bench.stack.cluster
    login = {"PGHOST": "127.0.0.1", "PGPORT": str(cluster.port), "PGUSER": "supabase_admin"}
    login |= {"PGPASSWORD": cluster.password, "PGDATABASE": "postgres"}
    with TemporaryDirectory(prefix="likeness-") as folder:
        process = await asyncio.create_subprocess_exec(
            cluster.binaries / "pgbench",
            *["--no-vacuum", "--log", "--jobs=2", f"--client={CONNECTIONS}"],
            *[f"--rate={rate}", f"--time={seconds}", "--file=/dev/stdin"],
            env=login,
            cwd=folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=die_with_parent(),
        )
        output, _ = await process.communicate(SCRIPT.encode())
        if process.returncode:
            raise RuntimeError(f"pgbench failed:\n{output.decode()}")
        taken = list(read_logs(Path(folder)))
    bench.run("select pgmq.purge_queue('voice_mirror')", {})
    return Latency(len(taken) / seconds, percentile(taken, 50), percentile(taken, 99))


def read_logs(folder: Path) -> Iterator[float]:
    """Milliseconds of each transaction, without its wait for a free connection."""
    for log in folder.glob("pgbench_log.*"):
        for line in log.read_text().splitlines():
            _, _, since_scheduled, _, _, _, lag = line.split()
            yield (int(since_scheduled) - int(lag)) / 1000


def show_point(point: Point) -> None:
    quiet, loud = point.without_notify, point.with_notify
    sys.stdout.write(
        f"{point.wanted_rate:>6,} transitions/s"
        f"   without NOTIFY: {quiet.rate:7,.0f}/s  p50 {quiet.p50:8.2f} ms  p99 {quiet.p99:8.2f} ms"
        f"   with NOTIFY: {loud.rate:7,.0f}/s  p50 {loud.p50:8.2f} ms  p99 {loud.p99:8.2f} ms\n"
    )
    sys.stdout.flush()


def write_curve(points: list[Point], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(points), indent=2) + b"\n")
