"""The effect of each outcome on its message, of a handler that fails, and of a malformed message."""

import asyncio

import pytest

from backend.queues.outcomes import Cancel, Done, Outcome, Retry, Snooze
from backend.queues.queue import Delivery, Message, Queue
from tests.queue_consumers.conftest import Queued, body, consuming, soon, until


async def test_messages_are_read_and_archived_in_batches(queued: Queued) -> None:
    sent = set(queued.send_many(1_000))
    handled: list[object] = []
    all_handled = asyncio.Event()

    async def handle(_: Delivery, message: Message) -> Outcome:
        handled.append(message.id)
        if len(handled) == len(sent):
            all_handled.set()
        return Done()

    async with consuming(queued.database, Queue(name=queued.name, handle=handle)):
        await soon(all_handled)
    assert set(handled) == sent
    assert len(handled) == len(sent)
    assert queued.live() == []
    assert len(queued.archived()) == len(sent)


async def test_a_retry_that_used_up_the_budget_is_a_dead_letter_with_its_reason(queued: Queued) -> None:
    tries: list[int] = []
    used_up = asyncio.Event()

    async def handle(delivery: Delivery, _: Message) -> Outcome:
        tries.append(delivery.tries)
        if len(tries) == 3:
            used_up.set()
        return Retry(retry_after=0, reason="provider_away")

    (msg_id,) = queued.send(body())
    async with consuming(queued.database, Queue(name=queued.name, handle=handle), budget=3):
        await soon(used_up)
    assert tries == [1, 2, 3]
    assert queued.dead() == {msg_id: "provider_away (tried 3 times)"}
    assert queued.live() == []
    assert queued.archived() == [msg_id]


async def test_a_handler_that_raises_is_tried_again(queued: Queued) -> None:
    done = asyncio.Event()

    async def handle(delivery: Delivery, _: Message) -> Outcome:
        if delivery.tries < 3:
            raise ZeroDivisionError("a fault of ours")
        done.set()
        return Done()

    (msg_id,) = queued.send(body())
    async with consuming(queued.database, Queue(name=queued.name, handle=handle), retry_base_seconds=0):
        await soon(done)
    assert queued.archived() == [msg_id]
    assert queued.dead() == {}


async def test_a_message_that_crashes_its_readers_is_a_dead_letter_unhandled(queued: Queued) -> None:
    """Read more often than the budget allows and never acknowledged: its readers crashed."""
    handled: list[int] = []

    async def handle(delivery: Delivery, _: Message) -> Outcome:
        handled.append(delivery.msg_id)
        return Done()

    (poison,) = queued.send(body())
    queued.rows("update {queue} set read_ct = 5 returning 1")
    async with consuming(queued.database, Queue(name=queued.name, handle=handle), budget=5):
        await until(queued.dead)
    assert handled == []
    assert queued.dead() == {poison: "budget_used: read 6 times, never acknowledged"}


async def test_a_malformed_message_is_a_dead_letter_and_the_next_one_is_handled(queued: Queued) -> None:
    handled = asyncio.Event()

    async def handle(_: Delivery, __: Message) -> Outcome:
        handled.set()
        return Done()

    malformed = queued.send(
        "text",
        None,
        [1],
        {},
        body(id="not-a-uuid"),
        body(version="one"),
        body(enqueued_at="yesterday"),
        {"nested": "\N{SNOWMAN}" * 1_000},
    )
    (well_formed,) = queued.send(body(surplus="ignored"))
    async with consuming(queued.database, Queue(name=queued.name, handle=handle)):
        await soon(handled)
        await until(lambda: not queued.live())
    dead = queued.dead()
    assert set(dead) == set(malformed)
    assert set(queued.archived()) == {*malformed, well_formed}
    assert all(reason.startswith("malformed: ") for reason in dead.values())
    bodies = queued.rows("select message from voice_clone.dead_letters order by message_id limit 3")
    assert [body for (body,) in bodies] == ["text", None, [1]], "as it was sent"


async def test_a_snooze_counts_no_try_and_keeps_the_message(queued: Queued) -> None:
    seen: list[tuple[int, Message]] = []
    done = asyncio.Event()

    async def handle(delivery: Delivery, message: Message) -> Outcome:
        seen.append((delivery.tries, message))
        if len(seen) < 6:
            return Snooze(retry_after=0)
        done.set()
        return Done()

    queued.send(body(ours="kept"))
    async with consuming(queued.database, Queue(name=queued.name, handle=handle), budget=2):
        await soon(done)
    assert [tries for tries, _ in seen] == [1] * 6
    assert {message.id for _, message in seen} == {seen[0][1].id}
    assert queued.live() == []
    assert queued.dead() == {}
    bodies = queued.rows("select message - 'tries' from {archive}")
    assert len(bodies) == 6
    assert all(row == bodies[0] for row in bodies)
    assert bodies[0][0]["ours"] == "kept"


async def test_tries_before_a_snooze_are_remembered(queued: Queued) -> None:
    tries: list[int] = []
    dead_lettered = asyncio.Event()

    async def handle(delivery: Delivery, _: Message) -> Outcome:
        tries.append(delivery.tries)
        if len(tries) % 2:
            return Snooze(retry_after=0)
        if delivery.tries == 3:
            dead_lettered.set()
        return Retry(retry_after=0, reason="away")

    queued.send(body())
    async with consuming(queued.database, Queue(name=queued.name, handle=handle), budget=3):
        await soon(dead_lettered)
    assert tries == [1, 1, 2, 2, 3, 3][: len(tries)]
    assert list(queued.dead().values()) == ["away (tried 3 times)"]


async def test_a_cancelled_message_is_archived_and_never_seen_again(queued: Queued) -> None:
    seen: list[int] = []
    second = asyncio.Event()

    async def handle(delivery: Delivery, message: Message) -> Outcome:
        seen.append(delivery.msg_id)
        if message.event == "second":
            second.set()
            return Done()
        return Cancel("superseded")

    (cancelled,) = queued.send(body())
    async with consuming(queued.database, Queue(name=queued.name, handle=handle)):
        await until(lambda: cancelled in queued.archived())
        queued.send(body(event="second"))
        await soon(second)
    assert seen.count(cancelled) == 1
    assert queued.dead() == {}


async def test_a_message_that_the_handler_acknowledged_is_not_acknowledged_again(queued: Queued) -> None:
    handled = asyncio.Event()

    async def handle(_: Delivery, __: Message) -> Outcome:
        handled.set()
        return Done(acknowledged=True)

    (msg_id,) = queued.send(body())
    async with consuming(queued.database, Queue(name=queued.name, handle=handle)):
        await soon(handled)
    assert queued.live() == [msg_id]  # this handler did not acknowledge it; the runtime relies on the outcome


def test_a_queue_has_one_kind_of_handler() -> None:
    with pytest.raises(ValueError, match="either handle or handle_batch"):
        Queue(name="voice_preview")
