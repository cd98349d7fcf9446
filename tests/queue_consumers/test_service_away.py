"""The service is away for longer than a budget: no message is dead-lettered, and all are handled later."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from backend.app.queues import QUEUES
from backend.database.backoff import outage_delay
from backend.queues.outcomes import Done, Outcome, Retry
from backend.queues.queue import Delivery, Message, Queue
from queue_consumers.settings import ServiceSettings
from scripts.local.supabase.ports import free_port
from tests.queue_consumers.conftest import Queued, body, consuming, until
from tests.queue_consumers.service import TOKEN, Answered, Asked, Service, serving

BUDGET = 3
QUICK = {"budget": BUDGET, "retry_base_seconds": 0.01, "retry_cap_seconds": 1.0, "poll_seconds": 0.2}


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    async with serving() as started:
        yield started


@pytest.mark.parametrize(
    "away",
    [
        Answered(503, {"code": "database_unavailable"}),
        pytest.param(
            Answered(404, b"default backend - 404", content_type="text/plain"), marks=pytest.mark.long
        ),
        pytest.param(Answered(502, b"<html>", content_type="text/html"), marks=pytest.mark.long),
    ],
)
async def test_a_service_that_answers_so_for_several_budgets_dead_letters_nothing(
    queued: Queued, service: Service, away: Answered
) -> None:
    sent = queued.send_many(2)
    handled: list[str] = []

    async def answer(asked: Asked) -> Answered:
        if len(service.asked) <= 2 * 2 * BUDGET:
            return away
        handled.append(asked.path.split("/")[-2])
        return Answered()

    service.answer = answer
    async with consuming(queued.database, QUEUES["voice_preview"], service=service.settings, **QUICK):
        await until(lambda: not queued.live())
    assert sorted(handled) == sorted(map(str, sent))
    assert queued.dead() == {}


async def test_a_service_that_refuses_connections_dead_letters_nothing(queued: Queued) -> None:
    queued.send_many(1)
    nobody = ServiceSettings(url=f"http://127.0.0.1:{free_port()}", internal_token=TOKEN)
    async with consuming(queued.database, QUEUES["voice_preview"], service=nobody, **QUICK):
        await until(lambda: len(queued.archived()) > 2 * BUDGET)  # an entry for each time it was requeued
    assert queued.dead() == {}
    ((message,),) = queued.rows("select message from {queue}")
    assert (message["tries"], "waiting_since" in message) == (0, True)


async def test_a_message_that_waited_as_long_as_it_may_is_counted_again(queued: Queued) -> None:
    tries: list[int] = []

    async def handle(delivery: Delivery, _: Message) -> Outcome:
        tries.append(delivery.tries)
        return Retry(retry_after=0, reason="away", is_outage=True)

    since = datetime.now(UTC) - timedelta(hours=25)
    (msg_id,) = queued.send(body(waiting_since=since.isoformat()))
    async with consuming(queued.database, Queue(name=queued.name, handle=handle), **QUICK):
        await until(queued.dead)
    assert tries == [1, 2, 3]
    assert queued.dead() == {msg_id: "away (tried 3 times)"}


async def test_a_try_that_failed_by_itself_counts_beside_those_that_did_not(queued: Queued) -> None:
    tries: list[int] = []

    async def handle(delivery: Delivery, _: Message) -> Outcome:
        tries.append(delivery.tries)
        if len(tries) == 7:
            return Done()
        return Retry(retry_after=0, reason="any", is_outage=len(tries) % 3 != 0)

    queued.send(body())
    async with consuming(queued.database, Queue(name=queued.name, handle=handle), **QUICK):
        await until(lambda: not queued.live())
    assert tries == [1, 1, 1, 2, 2, 2, 3]


def test_the_delay_is_short_at_first_and_grows_with_the_outage_up_to_a_cap() -> None:
    def longest(lasted: float, retry_after: float | None = None) -> float:
        return max(outage_delay(lasted, retry_after) for _ in range(200))

    assert longest(0) <= 2
    assert 2 < longest(60) <= 30
    assert 100 < longest(1e9) <= 300
    assert {outage_delay(0, 7) for _ in range(20)} == {7}
    assert min(outage_delay(1e9, 7) for _ in range(200)) >= 7
