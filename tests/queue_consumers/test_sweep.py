"""The consumers' timer sweeps, also after outages, and not at all if the setting says so."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from backend.queues.outcomes import Done, Outcome
from backend.queues.queue import Delivery, Message, Queue
from scripts.local.supabase.postgres import Cluster
from tests.clusters import Database
from tests.fixture import Fixture
from tests.queue_consumers.conftest import body, consuming

QUEUE = "voice_clone_process"


@pytest.fixture
def own_world(own_cluster: Cluster) -> Iterator[Fixture]:
    with closing(world_of(own_cluster)) as made:
        yield made


def world_of(cluster: Cluster) -> Fixture:
    service = cluster.dsn("voice_clone_service")
    return Fixture(
        Database(cluster=cluster, name="postgres", superuser=cluster.dsn(), postgres="", service=service)
    )


def lose_message(given: Fixture) -> None:
    given.superuser.execute("select pgmq.purge_queue(%s)", (QUEUE,))
    given.superuser.execute("update voice_clone.timeouts set value = '0.1 s' where name = 'lost_message'")
    given.superuser.execute("update voice_clone.deadlines set sweep_at = now() where lease_epoch is null")


class Handled:
    """A queue whose handler reports its messages."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.queue = Queue(name=QUEUE, handle=self._handle)

    async def _handle(self, _: Delivery, message: Message) -> Outcome:
        self.messages.put_nowait(message)
        return Done()

    async def next(self) -> Message:
        async with asyncio.timeout(30):
            return await self.messages.get()


async def test_what_lost_its_message_is_handled_all_the_same(given: Fixture) -> None:
    attempt = given.queued(given.user(), None)
    lose_message(given)
    handled = Handled()
    async with consuming(given.database.service, handled.queue, sweep_seconds=0.02, poll_seconds=3600):
        message = await handled.next()
    assert (message.event, message.id) == ("VOICE_CLONE_PROCESS", attempt)


async def test_the_sweep_outlives_an_outage_of_postgres(own_world: Fixture, own_cluster: Cluster) -> None:
    attempt = own_world.queued(own_world.user(), None)
    handled = Handled()
    async with consuming(own_world.database.service, handled.queue, sweep_seconds=0.02, poll_seconds=0.1):
        first = await handled.next()
        assert first.event == "VOICE_CLONE_PROCESS"
        own_cluster.stop(immediately=True)
        own_cluster.start(port=own_cluster.port)
        with closing(world_of(own_cluster)) as again:
            lose_message(again)
        while (message := await handled.next()).enqueued_at == first.enqueued_at:
            pass  # delivered again; the sweep's is another
    assert message.id == attempt


async def test_a_consumer_may_leave_the_sweep_to_another_timer(given: Fixture) -> None:
    attempt = given.open(given.user(), None)
    given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'upload'")
    given.superuser.execute("update voice_clone.deadlines set sweep_at = now()")
    handled = Handled()
    async with consuming(given.database.service, handled.queue, sweep_seconds=0, poll_seconds=0.01):
        for _ in range(20):
            given.one("select voice_clone.send_messages(%s, %s::jsonb[], 0)", QUEUE, [json.dumps(body())])
            await handled.next()
    assert given.attempt(attempt)["status"] == "awaiting_upload"
