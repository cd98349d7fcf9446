"""Consumers are woken where there is a message for them, and only there."""

import psycopg

from tests.database.conftest import World


def wake_ups(world: World, listener: psycopg.Connection) -> int:
    """Since the last look: what was committed before this notification has arrived with it."""
    world.superuser.execute("notify voice_clone_wake, 'the end'")
    payloads = [each.payload for each in listener.notifies(timeout=30, stop_after=1)]
    while payloads[-1] != "the end":
        payloads += [each.payload for each in listener.notifies(timeout=30, stop_after=1)]
    return len(payloads) - 1


def test_an_upload_that_is_merely_opened_wakes_nobody(world: World) -> None:
    user = world.user()
    consent = world.consent(user)
    with psycopg.connect(world.database.superuser, autocommit=True) as listener:
        listener.execute("listen voice_clone_wake")
        attempt = world.open(user, None, consent)
        assert wake_ups(world, listener) == 0
        world.queue(attempt, user)
        assert wake_ups(world, listener) == 1
