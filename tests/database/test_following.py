"""What those who follow an attempt are told, and until when."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.database.conftest import Row, World


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


@pytest.mark.parametrize(
    ("status", "reason", "was_ready", "over"),
    [
        ("awaiting_upload", None, False, False),
        ("failed", None, False, False),
        ("ready", None, True, False),
        ("expired", None, False, True),
        ("cancelled", "superseded", True, False),
        ("cancelled", "superseded", False, True),
        ("cancelled", "reset", True, True),
        ("cancelled", "voice_deleted", True, True),
    ],
)
def test_an_attempt_is_over_when_no_move_can_follow(
    world: World, status: str, reason: str | None, was_ready: bool, over: bool
) -> None:
    found = world.truth(
        "select voice_clone.is_over(jsonb_populate_record(null::public.attempts, %s)) as over",
        Jsonb({"status": status, "cancel_reason": reason, "ready_at": "2026-01-01" if was_ready else None}),
    )
    assert found["over"] == over


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
