"""Consumers are woken where there is a message for them, and only there."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.world import World


def wake_ups(world: World, listener: psycopg.Connection) -> list[str]:
    """Since the last look: what was committed before this notification has arrived with it."""
    world.superuser.execute("notify voice_clone_wake, 'the end'")
    payloads: list[str] = []
    while "the end" not in payloads:
        payloads += [each.payload for each in listener.notifies(timeout=30, stop_after=1)]
    return sorted(payloads[:-1])


@pytest.fixture
def listener(world: World) -> Iterator[psycopg.Connection]:
    with psycopg.connect(world.database.superuser, autocommit=True) as connection:
        connection.execute("listen voice_clone_wake")
        yield connection


def test_an_upload_that_is_merely_opened_wakes_nobody(world: World, listener: psycopg.Connection) -> None:
    user = world.user()
    world.open(user, world.reflection(user))
    assert wake_ups(world, listener) == []


def test_a_message_wakes_the_consumers_of_its_queue_alone(world: World, listener: psycopg.Connection) -> None:
    user = world.user()
    attempt = world.queued(user, world.reflection(user))
    assert wake_ups(world, listener) == ["voice_clone_process", "voice_mirror"]
    world.claim(attempt)
    assert wake_ups(world, listener) == ["voice_mirror"]
    world.one("select voice_clone.send_messages('voice_cleanup', array['{}'::jsonb], 0)")
    assert wake_ups(world, listener) == ["voice_cleanup"]


def test_a_message_that_the_sweep_sends_wakes_the_consumers_of_its_queue_alone(
    world: World, listener: psycopg.Connection
) -> None:
    world.queued(world.user(), None)
    with world.superuser.transaction():
        world.superuser.execute("set local session_replication_role = replica")
        world.superuser.execute("update voice_clone.deadlines set sweep_at = now()")
    wake_ups(world, listener)
    world.one("select * from voice_clone.sweep(10)")
    assert wake_ups(world, listener) == ["voice_clone_process"]
