"""Consumers are notified when there is a message for them, and only then."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.fixture import Fixture


def wake_ups(given: Fixture, listener: psycopg.Connection) -> list[str]:
    """The notifications since the last call. Those committed before the marker have arrived with it."""
    given.superuser.execute("notify voice_clone_wake, 'the end'")
    payloads: list[str] = []
    while "the end" not in payloads:
        payloads += [each.payload for each in listener.notifies(timeout=30, stop_after=1)]
    return sorted(payloads[:-1])


@pytest.fixture
def listener(given: Fixture) -> Iterator[psycopg.Connection]:
    with psycopg.connect(given.database.superuser, autocommit=True) as connection:
        connection.execute("listen voice_clone_wake")
        yield connection


def test_opening_an_upload_sends_no_notification(given: Fixture, listener: psycopg.Connection) -> None:
    user = given.user()
    given.open(user, given.reflection(user))
    assert wake_ups(given, listener) == []


def test_a_message_wakes_the_consumers_of_its_queue_alone(
    given: Fixture, listener: psycopg.Connection
) -> None:
    user = given.user()
    attempt = given.queued(user, given.reflection(user))
    assert wake_ups(given, listener) == ["voice_clone_process", "voice_mirror"]
    epoch = given.claim(attempt)["lease_epoch"]
    assert wake_ups(given, listener) == [], "the first message mirrors this transition as well"
    given.one("select * from voice_clone.fail_attempt(%s, %s, 'c', 'm', null, null)", attempt, epoch)
    assert wake_ups(given, listener) == ["voice_mirror"]
    given.one("select voice_clone.send_messages('voice_cleanup', array['{}'::jsonb], 0)")
    assert wake_ups(given, listener) == ["voice_cleanup"]


def test_a_message_that_the_sweep_sends_wakes_the_consumers_of_its_queue_alone(
    given: Fixture, listener: psycopg.Connection
) -> None:
    given.queued(given.user(), None)
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute("update voice_clone.deadlines set sweep_at = now()")
    wake_ups(given, listener)
    given.one("select * from voice_clone.sweep(10)")
    assert wake_ups(given, listener) == ["voice_clone_process"]
