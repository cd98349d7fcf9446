"""Which events the followers of an attempt get, and when the stream ends."""

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from tests.fixture import Fixture, Row


@pytest.fixture
def listener(given: Fixture) -> Iterator[psycopg.Connection]:
    with psycopg.connect(given.database.service, autocommit=True) as connection:
        connection.execute("listen voice_clone_events")
        yield connection


def notified(listener: psycopg.Connection) -> list[str]:
    """The payloads received; a round trip ensures that all earlier ones have arrived."""
    listener.execute("select 1")
    return [each.payload for each in listener.notifies(timeout=0)]


def read_events(given: Fixture, *attempts: object, after: int = 0, limit: int = 100) -> list[Row]:
    return given.service.execute(
        "select * from voice_clone.events_after(%s::uuid[], %s::bigint[], %s)",
        (list(attempts), [after] * len(attempts), limit),
    ).fetchall()


def test_a_transition_notifies_once_and_bookkeeping_never(
    given: Fixture, listener: psycopg.Connection
) -> None:
    attempt = given.open(given.user(), None)
    assert notified(listener) == [], "nobody can follow what is not there yet"
    user = given.attempt(attempt)["user_id"]
    with given.service.transaction():
        given.queue(attempt, user)
        epoch = given.claim(attempt)["lease_epoch"]
    assert notified(listener) == [str(attempt)]
    given.one("select voice_clone.renew_lease(%s, %s, 90) as held", attempt, epoch)
    assert notified(listener) == []


def test_a_transition_that_was_rolled_back_is_not_streamed(
    given: Fixture, listener: psycopg.Connection
) -> None:
    user = given.user()
    attempt = given.open(user, None)
    with given.service.transaction(force_rollback=True):
        given.queue(attempt, user)
    assert notified(listener) == []
    assert [event["events"] for event in read_events(given, attempt)] == [["opened"]]


def test_each_attempt_is_read_after_its_own_event_and_up_to_the_limit(given: Fixture) -> None:
    user = given.user()
    first, second = given.queued(user, None), given.queued(user, None)
    given.claim(second)
    assert [(e["attempt_id"], e["events"]) for e in read_events(given, first, second, limit=2)] == sorted(
        [(first, ["opened"]), (first, ["queued"]), (second, ["opened"]), (second, ["queued"])],
        key=lambda pair: pair[0],
    )
    opened = read_events(given, second)[0]["id"]
    assert [e["events"] for e in read_events(given, second, after=opened)] == [["queued"], ["claimed"]]


def is_over(given: Fixture, attempt: UUID) -> bool:
    return given.truth(
        "select voice_clone.is_final(a) as over from public.voice_clone_attempts a where id = %s", attempt
    )["over"]


def test_what_can_still_move_is_not_over(given: Fixture) -> None:
    user = given.user()
    attempt = given.open(user, None)
    assert not is_over(given, attempt)
    given.queue(attempt, user)
    epoch = given.claim(attempt)["lease_epoch"]
    assert not is_over(given, attempt)
    given.one("select * from voice_clone.fail_attempt(%s, %s, 'c', 'm', null, null)", attempt, epoch)
    assert not is_over(given, attempt), "its owner may retry it"
    launched = given.launchable(user, given.reflection(user))
    assert not is_over(given, launched), "its owner may reset it"


def test_an_expired_upload_is_over(given: Fixture) -> None:
    attempt = given.open(given.user(), None)
    given.superuser.execute(
        "update public.voice_clone_attempts set status = 'expired' where id = %s", (attempt,)
    )
    assert is_over(given, attempt)


def test_a_superseded_attempt_is_over_once_nothing_brings_it_back(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    kept = given.launchable(user, reflection)
    never_ready = given.queued(user, reflection)
    given.queued(user, reflection)
    assert not is_over(given, kept), "it may be restored"
    assert is_over(given, never_ready)
    given.one("select voice_clone.delete_voice(%s, %s)", given.attempt(kept)["voice_id"], user)
    assert is_over(given, kept)


def test_only_the_last_event_of_what_is_over_is_the_last(given: Fixture) -> None:
    user = given.user()
    consent = given.consent(user)
    attempt = given.open(user, None, consent)
    given.queue(attempt, user)
    assert [event["is_last"] for event in read_events(given, attempt)] == [False, False]
    given.one("select * from voice_clone.revoke_consent(%s, %s)", consent, user)
    events = read_events(given, attempt)
    assert [event["is_last"] for event in events] == [False, False, True]
    assert [event["is_last"] for event in read_events(given, attempt, limit=2)] == [False, False]
    more = "select voice_clone.has_more_events(%s, %s, %s) as more"
    assert given.one(more, attempt, user, events[1]["id"])["more"]
    assert not given.one(more, attempt, user, events[2]["id"])["more"]
    assert given.one(more, attempt, given.user(), 0)["more"] is None
