"""What the cap on jobs costs: a slot taken and handed over, alone and by many connections at once."""

import asyncio
import time
from itertools import cycle
from uuid import uuid4

import psycopg

from backend.database.queries import load_queries
from scripts.local.bench.figures import ROUNDS, Figure, against_floor, at_most, middle
from scripts.local.bench.seed import Bench

queries = load_queries(__file__)
MOST = 50  # MAX_JOBS
WAITING = 1_000
TURNS = 400
CONNECTIONS = 2 * MOST
SECONDS = 3.0


async def job_slots(bench: Bench) -> list[Figure]:
    """A job among 49 others; one more where 50 run and 1,000 wait; and jobs on 100 connections at once."""
    floors, free, full = [], [], []
    for _ in range(ROUNDS):
        fill(bench, running=MOST - 1, waiting=0)
        floors.append(await asyncio.to_thread(milliseconds, bench, queries.floor))
        free.append(await asyncio.to_thread(milliseconds, bench, queries.taken_and_freed))
        fill(bench, running=MOST, waiting=WAITING)
        full.append(await asyncio.to_thread(milliseconds, bench, queries.waited_and_handed_over))
    fill(bench, running=0, waiting=0)
    counts = await asyncio.gather(*(run_jobs(bench) for _ in range(CONNECTIONS)))
    fill(bench, running=0, waiting=0)
    floor = middle(floors)
    return [
        against_floor("job slot, taken and freed", middle(free), "ms", floor, at_most=2),
        against_floor("job slot, waited for and handed over", middle(full), "ms", floor, at_most=3),
        at_most(f"jobs at once, {CONNECTIONS} connections", max(counts), "jobs", MOST),
    ]


def fill(bench: Bench, *, running: int, waiting: int) -> None:
    """Past the functions: as if so many jobs were processed and waited."""
    bench.run(queries.fill, {"running": running, "most": MOST, "waiting": waiting})


def milliseconds(bench: Bench, statement: str) -> float:
    """The median of one transaction each, on one connection."""
    taken = []
    users = cycle([uuid4() for _ in range(10)])
    with psycopg.connect(bench.stack.cluster.dsn(), autocommit=True) as connection:
        for _ in range(TURNS):
            parameters = {"job": uuid4(), "user": next(users), "most": MOST}
            started = time.perf_counter()
            connection.execute(statement.encode(), parameters)
            taken.append((time.perf_counter() - started) * 1000)
    return middle(taken)


async def run_jobs(bench: Bench) -> int:
    """Jobs of one user after another; the most of all users that ran at once."""
    most = 0
    user = uuid4()
    ends = time.perf_counter() + SECONDS
    async with await psycopg.AsyncConnection.connect(
        bench.stack.cluster.dsn(), autocommit=True
    ) as connection:
        while time.perf_counter() < ends:
            parameters = {"job": uuid4(), "user": user, "most": MOST}
            cursor = await connection.execute(queries.take.encode(), parameters)
            if await cursor.fetchone() == ("taken",):
                cursor = await connection.execute(queries.running.encode())
                row = await cursor.fetchone()
                most = max(most, row[0] if row else 0)
            await connection.execute(queries.release.encode(), parameters)
    return most
