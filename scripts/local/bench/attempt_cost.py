"""What an attempt costs the database: the WAL that it writes, and the bytes that stay after it."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import psycopg

from backend.database.queries import load_queries
from scripts.local.bench.figures import ROUNDS, Figure, at_most, middle, part
from scripts.local.bench.lifecycles import PATIENCE_SECONDS, POLL_SECONDS, queue_in_turn, until_launched
from scripts.local.bench.seed import Bench, connected

queries = load_queries(__file__)
ATTEMPTS = 200  # in each round
KILOBYTE = 1000
MOST_WAL = 12.3
MOST_KEPT = 6.95
SMALLEST_PART = 0.01


async def attempt_cost(bench: Bench) -> list[Figure]:
    """Whole lifecycles through service and consumers, after their users, consents and reflections exist."""
    async with connected(bench) as connection:
        # Before the rows of users: the first write to a page after a checkpoint has all of the page in it.
        await connection.execute("checkpoint")
        groups, broadcast = ([bench.new_reflections(ATTEMPTS) for _ in range(1 + ROUNDS)] for _ in range(2))
        await cost(connection, bench, groups[0])  # whose space is used again by what does not stay
        before = after = await kept_bytes(connection)
        costs = []
        for group in groups[1:]:
            costs.append(await cost(connection, bench, group))
            after = await kept_bytes(connection)
        with broadcasting(bench):
            with_realtime = [await cost(connection, bench, group) for group in broadcast]
    attempts = ATTEMPTS * ROUNDS
    kept = {name: (after[name] - before.get(name, 0)) / attempts / KILOBYTE for name in after}
    parts = [
        part(f"  of it {name}", kilobytes, "kB")
        for name, kilobytes in sorted(kept.items(), key=lambda item: -item[1])
        if kilobytes >= SMALLEST_PART
    ]
    return [
        at_most("WAL, an attempt", written(costs), "kB", MOST_WAL),
        part("  with Realtime", written(with_realtime[1:]), "kB"),
        part("  attempts", rate(costs), "/s"),
        part("  attempts, with Realtime", rate(with_realtime[1:]), "/s"),
        at_most("kept, an attempt", sum(kept.values()), "kB", MOST_KEPT),
        *parts,
    ]


def written(costs: Sequence[tuple[int, float]]) -> float:
    """The kilobytes of one attempt."""
    return middle([wal / ATTEMPTS for wal, _ in costs]) / KILOBYTE


def rate(costs: Sequence[tuple[int, float]]) -> float:
    return middle([ATTEMPTS / seconds for _, seconds in costs])


@contextmanager
def broadcasting(bench: Bench) -> Iterator[None]:
    """With Realtime's table, as on a hosted project. The notification is of the local stack alone."""
    cluster = bench.stack.cluster
    cluster.add_realtime()
    cluster.enable_realtime()
    bench.run("drop trigger messages_notify on realtime.messages", {})
    try:
        yield
    finally:
        bench.run("select operations.disable_realtime()", {})


async def cost(
    connection: psycopg.AsyncConnection, bench: Bench, reflections: Sequence[UUID]
) -> tuple[int, float]:
    """Bytes of WAL and seconds, until each of these attempts is launchable and no message is left."""
    before, start = await fetch_number(connection, queries.wal_position), time.perf_counter()
    attempts = await queue_in_turn(connection, reflections, bench.prepared)
    await until_launched(connection, attempts)
    await until_drained(connection)
    return await fetch_number(connection, queries.wal_position) - before, time.perf_counter() - start


async def until_drained(connection: psycopg.AsyncConnection) -> None:
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while left := await fetch_number(connection, queries.unread):
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{left} messages are left after {PATIENCE_SECONDS:g} s")
        await asyncio.sleep(POLL_SECONDS)


async def kept_bytes(connection: psycopg.AsyncConnection) -> dict[str, int]:
    """Of each table, once the sweep has compared the mirrors and the space of dead rows is free again."""
    await connection.execute(queries.overdue.encode())
    while (await (await connection.execute(queries.swept.encode())).fetchone()) is not None:
        pass
    await connection.execute("vacuum")
    return dict(await (await connection.execute(queries.kept_bytes.encode())).fetchall())


async def fetch_number(connection: psycopg.AsyncConnection, statement: str) -> int:
    row = await (await connection.execute(statement.encode())).fetchone()
    if row is None:
        raise RuntimeError("the statement returned no row")
    return int(row[0])
