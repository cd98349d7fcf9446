"""What those who follow an attempt are told, and until when."""

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from tests.world import Row, World


@pytest.fixture
def listener(world: World) -> Iterator[psycopg.Connection]:
    with psycopg.connect(world.database.service, autocommit=True) as connection:
        connection.execute("listen voice_clone_events")
        yield connection


def notified(listener: psycopg.Connection) -> list[str]:
    """Payloads that have come; a round trip after them brings all that were sent before."""
    listener.execute("select 1")
    return [each.payload for each in listener.notifies(timeout=0)]


def told(world: World, *attempts: object, after: int = 0, limit: int = 100) -> list[Row]:
    return world.service.execute(
        "select * from voice_clone.events_after(%s::uuid[], %s::bigint[], %s)",
        (list(attempts), [after] * len(attempts), limit),
    ).fetchall()


def test_a_transition_notifies_once_and_bookkeeping_never(world: World, listener: psycopg.Connection) -> None:
    attempt = world.open(world.user(), None)
    assert notified(listener) == [], "nobody can follow what is not there yet"
    user = world.attempt(attempt)["user_id"]
    with world.service.transaction():
        world.queue(attempt, user)
        epoch = world.claim(attempt)["lease_epoch"]
    assert notified(listener) == [str(attempt)]
    world.one("select voice_clone.renew_lease(%s, %s, 90) as held", attempt, epoch)
    assert notified(listener) == []


def test_what_was_rolled_back_is_told_to_nobody(world: World, listener: psycopg.Connection) -> None:
    user = world.user()
    attempt = world.open(user, None)
    with world.service.transaction(force_rollback=True):
        world.queue(attempt, user)
    assert notified(listener) == []
    assert [event["events"] for event in told(world, attempt)] == [["opened"]]


def test_each_attempt_is_read_after_its_own_event_and_up_to_the_limit(world: World) -> None:
    user = world.user()
    first, second = world.queued(user, None), world.queued(user, None)
    world.claim(second)
    assert [(e["attempt_id"], e["events"]) for e in told(world, first, second, limit=2)] == sorted(
        [(first, ["opened"]), (first, ["queued"]), (second, ["opened"]), (second, ["queued"])],
        key=lambda pair: pair[0],
    )
    opened = told(world, second)[0]["id"]
    assert [e["events"] for e in told(world, second, after=opened)] == [["queued"], ["claimed"]]


def is_over(world: World, attempt: UUID) -> bool:
    return world.truth(
        "select voice_clone.is_final(a) as over from public.voice_clone_attempts a where id = %s", attempt
    )["over"]


def test_what_can_still_move_is_not_over(world: World) -> None:
    user = world.user()
    attempt = world.open(user, None)
    assert not is_over(world, attempt)
    world.queue(attempt, user)
    epoch = world.claim(attempt)["lease_epoch"]
    assert not is_over(world, attempt)
    world.one("select * from voice_clone.fail_attempt(%s, %s, 'c', 'm', null, null)", attempt, epoch)
    assert not is_over(world, attempt), "its owner may retry it"
    launched = world.launchable(user, world.reflection(user))
    assert not is_over(world, launched), "its owner may reset it"


def test_an_expired_upload_is_over(world: World) -> None:
    attempt = world.open(world.user(), None)
    world.superuser.execute(
        "update public.voice_clone_attempts set status = 'expired' where id = %s", (attempt,)
    )
    assert is_over(world, attempt)


def test_a_superseded_attempt_is_over_once_nothing_brings_it_back(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    kept = world.launchable(user, reflection)
    never_ready = world.queued(user, reflection)
    world.queued(user, reflection)
    assert not is_over(world, kept), "it may be restored"
    assert is_over(world, never_ready)
    world.one("select voice_clone.delete_voice(%s, %s)", world.attempt(kept)["voice_id"], user)
    assert is_over(world, kept)


def test_only_the_last_event_of_what_is_over_is_the_last(world: World) -> None:
    user = world.user()
    consent = world.consent(user)
    attempt = world.open(user, None, consent)
    world.queue(attempt, user)
    assert [event["is_last"] for event in told(world, attempt)] == [False, False]
    world.one("select * from voice_clone.revoke_consent(%s, %s)", consent, user)
    events = told(world, attempt)
    assert [event["is_last"] for event in events] == [False, False, True]
    assert [event["is_last"] for event in told(world, attempt, limit=2)] == [False, False]
    more = "select voice_clone.has_more_events(%s, %s, %s) as more"
    assert world.one(more, attempt, user, events[1]["id"])["more"]
    assert not world.one(more, attempt, user, events[2]["id"])["more"]
    assert world.one(more, attempt, world.user(), 0)["more"] is None
