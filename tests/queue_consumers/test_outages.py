"""Postgres restarts or the network fails: every message is handled at least once, none is left."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from psycopg import AsyncConnection, connect
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backend.queues.outcomes import Done, Outcome
from backend.queues.queue import Delivery, Message, Queue
from scripts.local.supabase.postgres import Cluster
from tests.queue_consumers.conftest import Queued, consuming, soon, until

COUNT = 3_000


@pytest.fixture
def queued(own_cluster: Cluster) -> Queued:
    return Queued(own_cluster.dsn("voice_clone_service"), own_cluster.dsn())


def restart(cluster: Cluster) -> None:
    cluster.stop(immediately=True)
    cluster.start(port=cluster.port)


def counting_queue(name: str, handled: Counter[object], on_handled: Callable[[], None]) -> Queue:
    async def handle(_: Delivery, message: Message) -> Outcome:
        await asyncio.sleep(0)
        handled[message.id] += 1
        on_handled()
        return Done()

    return Queue(name=name, handle=handle)


async def test_postgres_restarts_under_load(own_cluster: Cluster, queued: Queued) -> None:
    sent = set(queued.send_many(COUNT))
    handled: Counter[object] = Counter()
    marks = {share: asyncio.Event() for share in (1, 3, 5)}

    def mark() -> None:
        for share, reached in marks.items():
            if len(handled) >= share * COUNT // 10:
                reached.set()

    queue = counting_queue(queued.name, handled, mark)
    async with consuming(queued.database, queue, visibility_seconds=2, poll_seconds=0.2):
        for reached in marks.values():
            await soon(reached)
            restart(own_cluster)
        await until(lambda: not queued.live())
    assert set(handled) == sent
    assert len(queued.archived()) == COUNT
    assert queued.dead() == {}


async def test_postgres_restarts_under_a_set_based_handler(own_cluster: Cluster, queued: Queued) -> None:
    """The effect is in the transaction of the archive, so it happens exactly once."""
    begun = asyncio.Event()
    with connect(queued.superuser, autocommit=True) as connection:
        connection.execute("create table public.effects (id uuid primary key)")
        connection.execute("grant all on public.effects to voice_clone_service")

    async def handle_batch(connection: AsyncConnection, messages: Sequence[Message]) -> list[Outcome]:
        await connection.execute(
            "insert into public.effects select unnest(%s::uuid[])", [[message.id for message in messages]]
        )
        begun.set()
        return [Done() for _ in messages]

    sent = set(queued.send_many(COUNT))
    queue = Queue(name=queued.name, handle_batch=handle_batch, batch_size=50, concurrency=1)
    async with consuming(queued.database, queue, visibility_seconds=2, poll_seconds=0.2):
        for _ in range(2):
            begun.clear()
            await soon(begun)
            restart(own_cluster)
        await until(lambda: not queued.live())
    assert {row[0] for row in queued.rows("select id from public.effects")} == sent
    assert len(queued.archived()) == COUNT


async def test_a_consumer_started_before_postgres_waits_for_it(own_cluster: Cluster, queued: Queued) -> None:
    queued.send_many(10)
    handled: Counter[object] = Counter()
    own_cluster.stop()
    async with consuming(
        queued.database, counting_queue(queued.name, handled, lambda: None), poll_seconds=0.2
    ):
        await asyncio.sleep(0)
        own_cluster.start(port=own_cluster.port)
        await until(lambda: not queued.live())
    assert len(handled) == 10


async def test_a_consumer_stops_within_its_grace_while_postgres_is_away(
    own_cluster: Cluster, queued: Queued
) -> None:
    queued.send_many(10)
    handled: Counter[object] = Counter()
    begun = asyncio.Event()
    async with (
        asyncio.timeout(20),
        consuming(queued.database, counting_queue(queued.name, handled, begun.set), grace_seconds=1),
    ):
        await soon(begun)
        own_cluster.stop(immediately=True)


class Wire:
    """A TCP relay to Postgres that can be cut: connections reset, and new ones refused."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.up = True

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.up:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()
            self._writers.discard(writer)

    def cut(self) -> None:
        self.up = False
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def wired(database_url: str) -> AsyncIterator[tuple[Wire, str]]:
    parts = conninfo_to_dict(database_url)
    wire = Wire(str(parts["host"]), int(str(parts["port"])))
    server = await asyncio.start_server(wire.relay, "127.0.0.1")
    try:
        yield wire, make_conninfo(database_url, port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        wire.cut()
        await asyncio.sleep(0)


async def test_a_dropped_network_loses_nothing(queued: Queued) -> None:
    sent = set(queued.send_many(COUNT))
    handled: Counter[object] = Counter()
    half = asyncio.Event()
    queue = counting_queue(queued.name, handled, lambda: half.set() if len(handled) > COUNT // 2 else None)
    async with (
        wired(queued.database) as (wire, url),
        consuming(url, queue, visibility_seconds=2, poll_seconds=0.2),
    ):
        await soon(half)
        wire.cut()
        await asyncio.sleep(0.2)  # an outage has a length
        wire.up = True
        await until(lambda: not queued.live())
    assert set(handled) == sent
    assert len(queued.archived()) == COUNT
