"""A reset removes the voice and any running attempt, and keeps the history."""

from uuid import uuid4

import pytest

from tests.database.situations import events, fail, meanwhile, refused, reset, restore, retry, revoke
from tests.fixture import Fixture


def test_the_moves_of_a_stranger_find_nothing(given: Fixture) -> None:
    user, stranger = given.user(), given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    fail(given, attempt)
    before = given.attempt(attempt)
    for move in (retry, reset, restore):
        for someone, something in ((stranger, reflection), (user, uuid4())):
            with refused("VC004"):
                move(given, something, someone)
    assert given.attempt(attempt) == before


def test_a_reset_takes_the_voice_away_and_keeps_what_happened(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    shown = given.mirror(reflection)
    answer = reset(given, reflection, user)
    assert (answer["id"], answer["status"], answer["cancel_reason"]) == (attempt, "cancelled", "reset")
    mirror = given.mirror(reflection)
    assert (mirror["cloneStatus"], mirror["attemptId"], mirror["error"]) == ("none", None, None)
    assert mirror["version"] > shown["version"]
    gate = given.one("select launchable, blockers from voice_clone.launch_gate(%s, %s)", reflection, user)
    assert gate == {"launchable": False, "blockers": ["no_voice"]}
    assert events(given, attempt)[-1] == "cancelled"
    kept = given.truth("select deleted_at from public.voices where attempt_id = %s", attempt)
    assert kept["deleted_at"] is None, "the owner's library still has it"
    assert reset(given, reflection, user) == answer, "saying so twice is saying it once"
    newer = given.launchable(user, reflection)
    assert given.mirror(reflection)["attemptId"] == str(newer)


@pytest.mark.parametrize("status", ["queued", "processing", "failed"])
def test_a_reset_ends_whatever_is_in_the_making(given: Fixture, status: str) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    if status == "processing":
        given.claim(attempt)
    if status == "failed":
        fail(given, attempt)
    assert given.mirror(reflection)["cloneStatus"] == status
    assert reset(given, reflection, user)["status"] == "cancelled"
    assert given.mirror(reflection)["cloneStatus"] == "none"
    assert given.claim(attempt)["outcome"] == "inactive"


def test_where_there_never_was_a_voice_there_is_nothing_to_reset(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    opened = given.open(user, reflection)
    with refused("VC007", "nothing_to_reset"):
        reset(given, reflection, user)
    assert given.attempt(opened)["status"] == "awaiting_upload"


def test_what_a_worker_made_before_the_reset_becomes_an_orphan(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    epoch = given.claim(attempt)["lease_epoch"]
    enrollment = given.intend(attempt, epoch)
    reset(given, reflection, user)
    before, shown = given.attempt(attempt), given.mirror(reflection)
    with refused("VC002"):
        given.attach(attempt, epoch, enrollment)
    assert not given.one("select voice_clone.renew_lease(%s, %s, 60) as held", attempt, epoch)["held"]
    report = "select voice_clone.report_enrollment(%s, 'late-voice', 'm', false, 'r', null) as status"
    assert given.one(report, enrollment)["status"] == "orphaned"
    assert (given.attempt(attempt), given.mirror(reflection)) == (before, shown)


def test_a_runtime_that_was_being_synced_at_a_reset_stays_away(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    given.enroll(attempt)
    epoch = given.step(attempt, "runtime")
    reset(given, reflection, user)
    with refused("VC002"):
        given.one(
            "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)", attempt, epoch
        )
    assert given.mirror(reflection)["cloneStatus"] == "none"


def test_a_reset_waits_for_the_write_it_meets_and_wins(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    epoch = given.claim(attempt)["lease_epoch"]
    enrollment = given.intend(attempt, epoch)
    with meanwhile(given, lambda: reset(given, reflection, user)) as second:
        given.superuser.execute(
            "select voice_clone.attach_voice(%s, %s, %s, 'v', 'm', 'r', null, null, false)",
            (attempt, epoch, enrollment),
        )
    assert second[0].result(10)["cancel_reason"] == "reset"
    assert given.attempt(attempt)["ready_at"] is not None
    assert given.mirror(reflection)["cloneStatus"] == "none"


def test_a_reset_after_a_revoked_consent_changes_nothing(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    revoke(given, attempt, user)
    assert reset(given, reflection, user)["cancel_reason"] == "consent_revoked"
