"""Notifications of a pooled connection are sent after the commit, and only then."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from backend.database.pool import Database as Pool
from backend.lifecycle import event_streams
from backend.settings.database import DatabaseSettings
from tests.fixture import Fixture

PATIENCE = 30
QUEUE = "select voice_clone.send_messages('voice_cleanup', array['{}', '{}']::jsonb[], 0)"


@pytest.fixture
async def pool(given: Fixture) -> AsyncIterator[Pool]:
    async with Pool(DatabaseSettings(url=given.database.service)) as opened:
        yield opened


@pytest.fixture
async def listener(given: Fixture) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(given.database.superuser, autocommit=True) as connection:
        await connection.execute("listen voice_clone_wake")
        await connection.execute("listen voice_clone_events")
        yield connection


async def heard(given: Fixture, listener: psycopg.AsyncConnection) -> list[tuple[str, str]]:
    """The notifications since the last call. Those sent before the marker have arrived with it."""
    given.superuser.execute("notify voice_clone_wake, 'the end'")
    found: list[tuple[str, str]] = []
    while ("voice_clone_wake", "the end") not in found:
        arrived = listener.notifies(timeout=PATIENCE, stop_after=1)
        found += [(each.channel, each.payload) async for each in arrived]
    return sorted(found[:-1])


async def test_a_notification_comes_once_and_after_its_commit(
    given: Fixture, pool: Pool, listener: psycopg.AsyncConnection
) -> None:
    async with pool.transaction() as transaction:
        await transaction.execute(QUEUE)
        await transaction.execute(QUEUE)
        assert await heard(given, listener) == []
    assert await heard(given, listener) == [("voice_clone_wake", "voice_cleanup")]
    assert len(given.messages("voice_cleanup")) == 4


async def test_a_statement_on_its_own_notifies_as_well(
    given: Fixture, pool: Pool, listener: psycopg.AsyncConnection
) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    given.mirror(reflection)
    await heard(given, listener)
    claim = "select * from voice_clone.claim_attempt(%s, 'worker', 60, 4, true)"
    await pool.fetch_one(claim, (attempt,))
    events = [("voice_clone_events", str(attempt)), ("voice_clone_wake", "voice_mirror")]
    assert await heard(given, listener) == events


async def test_a_transition_that_was_rolled_back_sends_no_notification(
    given: Fixture, pool: Pool, listener: psycopg.AsyncConnection
) -> None:
    async def send_and_fail() -> None:
        async with pool.transaction() as transaction:
            await transaction.execute(QUEUE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await send_and_fail()
    await pool.execute("select 1")
    assert await heard(given, listener) == []


async def test_a_transaction_of_the_pool_has_no_notification_to_wait_for(
    given: Fixture, listener: psycopg.AsyncConnection
) -> None:
    """NOTIFY inside a transaction holds a lock of the whole cluster until the commit is on disk."""
    given.service.execute("set voice_clone.notify_after_commit = on")  # as checkout does
    given.service.execute(QUEUE)
    assert await heard(given, listener) == []
    given.service.execute("reset voice_clone.notify_after_commit")
    given.service.execute(QUEUE)
    assert await heard(given, listener) == [("voice_clone_wake", "voice_cleanup")]
    assert len(given.messages("voice_cleanup")) == 4


async def test_a_follower_is_told_of_an_event_whose_notification_was_lost(
    given: Fixture, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like a process that is killed between its commit and its notification."""
    monkeypatch.setattr(event_streams, "POLL_SECONDS", 0.1)
    user = given.user()
    attempt = given.queued(user, None)
    settings = DatabaseSettings(url=given.database.service)
    listening = "select from pg_stat_activity where query = 'listen voice_clone_events' and state = 'idle'"
    async with event_streams.EventHub(settings, pool) as hub, asyncio.timeout(PATIENCE):
        with hub.follow(attempt, user, 0) as stream:
            assert b"queued" in (await stream.next(PATIENCE) or b"")
            while given.superuser.execute(listening).fetchone() is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            given.service.execute("set voice_clone.notify_after_commit = on")
            given.claim(attempt)
            assert b"claimed" in (await stream.next(PATIENCE) or b"")
