"""Whole lifecycles through service and consumers."""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import scalar_row

from scripts.local.bench.figures import ROUNDS, Figure, at_least, middle
from scripts.local.bench.seed import Bench, connected, queries

LIFECYCLES = 600
ARRIVING = 10  # lifecycles that begin at once
WARMING_LIFECYCLES = 100
POLL_SECONDS = 0.01
PATIENCE_SECONDS = 120.0


async def lifecycles(bench: Bench) -> list[Figure]:
    """Queued to launchable and mirrored, by service and consumers, with a simulator that answers at once."""
    await lifecycles_per_second(bench, WARMING_LIFECYCLES)
    floors, values = [], []
    for _ in range(ROUNDS):
        floors.append(transitions_alone(bench))
        values.append(await lifecycles_per_second(bench, LIFECYCLES))
    return [at_least("whole lifecycles", middle(values), "lifecycles/s", 100, middle(floors))]


async def lifecycles_per_second(bench: Bench, count: int) -> float:
    reflections = bench.new_reflections(count)
    async with connected(bench) as connection:
        started = time.perf_counter()
        attempts = await queue_in_turn(connection, reflections, bench.prepared)
        await until_launched(connection, attempts)
        return count / (time.perf_counter() - started)


async def queue_in_turn(
    connection: psycopg.AsyncConnection, reflections: Sequence[UUID], prepared: tuple[str, int]
) -> list[UUID]:
    """Opened and queued a few at a time, as people come, and not all in one transaction."""
    path, size = prepared
    attempts: list[UUID] = []
    for first in range(0, len(reflections), ARRIVING):
        some = reflections[first : first + ARRIVING]
        parameters = {"reflections": some, "path": path, "bytes": size}
        cursor = await connection.execute(queries.queued.encode(), parameters)
        attempts += [attempt for (attempt,) in await cursor.fetchall()]
    return attempts


async def until_launched(connection: psycopg.AsyncConnection, attempts: Sequence[UUID]) -> None:
    """From the last to the first, a few at a time, so that polling costs little."""
    waiting = list(attempts)
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while waiting:
        last = waiting[-ARRIVING:]
        cursor = await connection.execute(queries.launched.encode(), {"attempts": last})
        if await cursor.fetchone() == (len(last),):
            del waiting[-ARRIVING:]
        elif time.perf_counter() < deadline:
            await asyncio.sleep(POLL_SECONDS)
        else:
            raise RuntimeError(
                "the lifecycles did not end within two minutes; see the logs of service and consumers"
            )


def transitions_alone(bench: Bench, count: int = 50) -> float:
    """Lifecycles/s of the same transitions, called one after the other on one connection."""
    reflections = bench.new_reflections(count)
    with psycopg.connect(bench.stack.cluster.dsn(), autocommit=True, row_factory=scalar_row) as connection:
        started = time.perf_counter()
        with connection.transaction(force_rollback=True):
            parameters = {"reflections": reflections, "path": "p", "bytes": 1}
            for attempt in connection.execute(queries.queued.encode(), parameters).fetchall():
                epoch = connection.execute(
                    "select lease_epoch from voice_clone.claim_attempt(%s, 'bench', 60, 9, false)", [attempt]
                ).fetchone()
                enrollment = connection.execute(
                    "select voice_clone.intend_enrollment(%s, %s, %s, 'match', 60)",
                    [attempt, epoch, uuid4().hex[:16]],
                ).fetchone()
                connection.execute(
                    "select id from voice_clone.attach_voice(%s, %s, %s, %s, 'm', 'r', null, null, true)",
                    [attempt, epoch, enrollment, str(attempt)],
                )
                connection.execute(
                    "select id from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)",
                    [attempt, epoch],
                )
            return count / (time.perf_counter() - started)
