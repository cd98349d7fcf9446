"""Heartbeat, deadline, wake-ups and caps: when a message is read, and how long it is held."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import psycopg
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from backend.queues.outcomes import Done, Outcome, Retry, Snooze
from backend.queues.queue import Delivery, Message, Queue
from backend.queues.reading import PACE_SECONDS
from scripts.local.supabase.postgres import Cluster
from tests.queue_consumers.conftest import Queued, body, consuming, soon, until

AN_HOUR = 3600.0
COUNT_CALLS = """
    do $$ begin execute format('alter database %I set track_functions = ''all''', current_database()); end $$
"""
LISTENING = """
    select from pg_stat_activity
    where datname = current_database() and query like 'listen%' and state = 'idle'
"""


async def test_the_heartbeat_keeps_a_long_job_from_being_read_twice(queued: Queued) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    handled: list[str] = []

    def consumer_called(name: str) -> Queue:
        async def handle(_: Delivery, message: Message) -> Outcome:
            handled.append(message.event)
            if message.event == "long":
                begun.set()
                await may_end.wait()
            return Done()

        return Queue(name=queued.name, handle=handle)

    (long,) = queued.send(body(event="long"))
    async with (
        consuming(queued.database, consumer_called("one"), visibility_seconds=1, poll_seconds=0.05),
        consuming(queued.database, consumer_called("two"), visibility_seconds=1, poll_seconds=0.05),
    ):
        await soon(begun)
        first = queued.rows("select vt from {queue} where msg_id = %s", long)[0][0]
        await until(lambda: queued.rows("select where clock_timestamp() > %s + interval '0.5 s'", first))
        may_end.set()
        await until(lambda: not queued.live())
    assert handled == ["long"]
    assert queued.rows("select read_ct from {archive}") == [(1,)]


async def test_messages_that_wait_for_a_handler_are_kept_as_well(queued: Queued) -> None:
    may_end = asyncio.Event()
    handled: Counter[object] = Counter()

    async def handle(_: Delivery, message: Message) -> Outcome:
        await may_end.wait()
        handled[message.id] += 1
        return Done()

    queued.send_many(5)
    one_at_a_time = Queue(name=queued.name, handle=handle, concurrency=1)
    async with consuming(queued.database, one_at_a_time, visibility_seconds=1, poll_seconds=0.05):
        await until(lambda: queued.rows("select from {queue} where vt > enqueued_at + interval '2.5 s'"))
        may_end.set()
        await until(lambda: not queued.live())
    assert set(handled.values()) == {1}
    assert queued.rows("select max(read_ct) from {archive}") == [(1,)]


async def test_a_handler_past_its_deadline_is_stopped(queued: Queued) -> None:
    stopped = asyncio.Event()

    async def handle(_: Delivery, __: Message) -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return Done()

    (msg_id,) = queued.send(body())
    queue = Queue(name=queued.name, handle=handle)
    async with consuming(queued.database, queue, deadline_seconds=0.05, budget=1):
        await soon(stopped)
    assert queued.dead() == {msg_id: "DeadlineError: stopped after 0.05 s (tried 1 times)"}


async def test_a_handlers_own_timeout_is_not_the_deadline(queued: Queued) -> None:
    async def handle(_: Delivery, __: Message) -> Outcome:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
        return Done()

    (msg_id,) = queued.send(body())
    async with consuming(queued.database, Queue(name=queued.name, handle=handle), budget=1):
        await until(queued.dead)
    assert queued.dead()[msg_id].startswith("TimeoutError")


async def test_a_handler_whose_heartbeat_is_lost_is_stopped_and_all_it_kept_waiting_is_read_again(
    own_cluster: Cluster,
) -> None:
    queued = Queued(own_cluster.dsn("voice_clone_service"), own_cluster.dsn())
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def handle(_: Delivery, __: Message) -> Outcome:
        if not stopped.is_set():
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
        return Done()

    queued.send_many(5)
    queue = Queue(name=queued.name, handle=handle, batch_size=5, concurrency=1)
    async with consuming(queued.database, queue, visibility_seconds=1, poll_seconds=0.1):
        await soon(begun)
        own_cluster.stop(immediately=True)
        await soon(stopped)
        own_cluster.start(port=own_cluster.port)
        await until(lambda: not queued.live())
    assert queued.rows("select read_ct from {archive}") == [(2,)] * 5


async def test_a_worker_that_ends_as_the_next_batch_comes_is_replaced(queued: Queued) -> None:
    async def handle_batch(connection: AsyncConnection, messages: Sequence[Message]) -> list[Outcome]:
        await connection.execute("select 1")
        return [Done() for _ in messages]

    queued.send_many(1_000)
    queue = Queue(name=queued.name, handle_batch=handle_batch, batch_size=1, concurrency=1)
    async with consuming(queued.database, queue, poll_seconds=AN_HOUR):
        await until(lambda: not queued.live())


async def test_a_notification_wakes_an_idle_consumer_that_will_not_poll(queued: Queued) -> None:
    handled: asyncio.Queue[object] = asyncio.Queue()

    async def handle(_: Delivery, message: Message) -> Outcome:
        handled.put_nowait(message.id)
        return Done()

    async with consuming(queued.database, Queue(name=queued.name, handle=handle), poll_seconds=AN_HOUR):
        await until(lambda: queued.rows(LISTENING))
        for _ in range(20):
            (sent,) = queued.send_many(1)
            async with asyncio.timeout(10):
                assert await handled.get() == sent


async def test_a_broken_listening_connection_is_reopened_and_nothing_missed(queued: Queued) -> None:
    handled: asyncio.Queue[object] = asyncio.Queue()

    async def handle(_: Delivery, message: Message) -> Outcome:
        handled.put_nowait(message.id)
        return Done()

    async with consuming(queued.database, Queue(name=queued.name, handle=handle), poll_seconds=AN_HOUR):
        for _ in range(3):
            await until(lambda: queued.rows(LISTENING))
            queued.rows(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and query like 'listen%%'"
            )
            (sent,) = queued.send_many(1)  # while no connection listens
            async with asyncio.timeout(10):
                assert await handled.get() == sent


async def test_a_delay_of_its_own_ends_without_a_poll(queued: Queued) -> None:
    seen = 0
    done = asyncio.Event()

    async def handle(_: Delivery, __: Message) -> Outcome:
        nonlocal seen
        seen += 1
        if seen == 1:
            return Retry(retry_after=1)
        if seen == 2:
            return Snooze(retry_after=1)
        done.set()
        return Done()

    queued.send(body())
    async with consuming(queued.database, Queue(name=queued.name, handle=handle), poll_seconds=AN_HOUR):
        await soon(done)


async def test_a_delayed_message_is_found_by_the_poll(queued: Queued) -> None:
    handled = asyncio.Event()

    async def handle(_: Delivery, __: Message) -> Outcome:
        handled.set()
        return Done()

    async with consuming(queued.database, Queue(name=queued.name, handle=handle), poll_seconds=0.1):
        queued.send(body(), delay=1)
        await soon(handled)


async def test_no_more_jobs_run_at_once_than_the_cap_over_all_queues(queued: Queued) -> None:
    running = 0
    most = 0
    handled = 0
    all_handled = asyncio.Event()

    async def handle(_: Delivery, __: Message) -> Outcome:
        nonlocal running, most, handled
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        handled += 1
        if handled == 60:
            all_handled.set()
        return Done()

    names = ("voice_clone_process", "voice_runtime_sync", "voice_preview")
    for name in names:
        Queued(queued.database, queued.superuser, name).send_many(20)
    queues = [Queue(name=name, handle=handle, limited=True) for name in names]
    async with consuming(queued.database, *queues, max_jobs=4):
        await soon(all_handled)
    assert most == 4


async def test_a_busy_queue_is_read_a_few_messages_at_a_time(queued: Queued) -> None:
    messages, handled = 60, 0
    all_handled = asyncio.Event()

    async def handle(_: Delivery, __: Message) -> Outcome:
        nonlocal handled
        handled += 1
        if handled == messages:
            all_handled.set()
        return Done()

    with psycopg.connect(queued.superuser, autocommit=True) as connection:
        connection.execute(COUNT_CALLS)
    loop = asyncio.get_running_loop()
    async with (
        await AsyncConnection.connect(queued.database, autocommit=True) as sender,
        consuming(queued.database, Queue(name=queued.name, handle=handle), poll_seconds=AN_HOUR),
    ):
        started = loop.time()
        for _ in range(messages):
            await sender.execute(
                "select voice_clone.send_messages(%s, %s, 0)", [queued.name, [Jsonb(body())]]
            )
        await soon(all_handled)
        taken = loop.time() - started
    [(reads,)] = queued.rows("select calls from pg_stat_user_functions where funcname = 'read_messages'")
    assert reads <= taken / PACE_SECONDS + 3, "the first, the last, and one under way"
