"""Deferred messages: stored outside of the queue, and sent once when they are due."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import psycopg

from backend.queues.messages import QUEUE_DELAY_SECONDS
from backend.queues.outcomes import Done, Outcome, Retry
from backend.queues.queue import Delivery, Message, Queue
from tests.queue_consumers.conftest import Queued, body, consuming, soon, until


def make_due(queued: Queued) -> int:
    """Make all deferred messages due; returns how many there were."""
    return len(queued.rows("update voice_clone.deferred_messages set due_at = now() returning id"))


def read_all(queued: Queued) -> list[object]:
    with psycopg.connect(queued.database, autocommit=True) as connection:
        rows = connection.execute(
            "select message ->> 'id' from voice_clone.read_messages(%s, 60, 1000)", [queued.name]
        ).fetchall()
    return [row[0] for row in rows]


def test_a_long_delay_is_kept_out_of_the_queue_and_a_short_one_in_it(queued: Queued) -> None:
    (short,) = queued.send(body(), delay=QUEUE_DELAY_SECONDS)
    assert queued.send(body(), body(), delay=QUEUE_DELAY_SECONDS + 1) == []
    assert queued.live() == [short]
    assert read_all(queued) == []
    assert make_due(queued) == 2
    assert len(read_all(queued)) == 2
    assert make_due(queued) == 0


async def test_a_long_retry_keeps_its_tries_while_it_waits(queued: Queued) -> None:
    tries: list[int] = []
    done = asyncio.Event()

    async def handle(delivery: Delivery, _: Message) -> Outcome:
        tries.append(delivery.tries)
        if len(tries) < 3:
            return Retry(retry_after=60)
        done.set()
        return Done()

    queued.send(body())
    async with consuming(queued.database, Queue(name=queued.name, handle=handle), poll_seconds=0.1):
        for count in (1, 2):
            await until(lambda: make_due(queued))
            await until(lambda count=count: len(tries) > count)
        await soon(done)
    assert tries == [1, 2, 3]


async def test_a_message_that_only_waits_and_fails_runs_out_of_budget(queued: Queued) -> None:
    async def handle(_: Delivery, __: Message) -> Outcome:
        return Retry(retry_after=60, reason="away")

    queued.send(body())
    async with consuming(queued.database, Queue(name=queued.name, handle=handle), poll_seconds=0.1, budget=2):
        await until(lambda: make_due(queued))
        await until(queued.dead)
    assert list(queued.dead().values()) == ["away (tried 2 times)"]


def test_readers_at_once_send_each_deferred_message_once(queued: Queued) -> None:
    sent = [body() for _ in range(200)]
    queued.send(*sent, delay=3600)
    make_due(queued)
    with ThreadPoolExecutor(4) as readers:
        batches = list(readers.map(lambda _: read_all(queued), range(8)))
    assert sorted(str(each) for batch in batches for each in batch) == sorted(
        str(each["id"]) for each in sent
    )
