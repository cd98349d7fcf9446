"""A reset takes the voice away, whatever was in the making, and keeps what happened."""

from uuid import uuid4

import pytest

from tests.database.moves import events, fail, meanwhile, refused, reset, restore, retry, revoke
from tests.world import World


def test_the_moves_of_a_stranger_find_nothing(world: World) -> None:
    user, stranger = world.user(), world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    fail(world, attempt)
    before = world.attempt(attempt)
    for move in (retry, reset, restore):
        for someone, something in ((stranger, reflection), (user, uuid4())):
            with refused("VC004"):
                move(world, something, someone)
    assert world.attempt(attempt) == before


def test_a_reset_takes_the_voice_away_and_keeps_what_happened(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.launchable(user, reflection)
    shown = world.mirror(reflection)
    answer = reset(world, reflection, user)
    assert (answer["id"], answer["status"], answer["cancel_reason"]) == (attempt, "cancelled", "reset")
    mirror = world.mirror(reflection)
    assert (mirror["cloneStatus"], mirror["attemptId"], mirror["error"]) == ("none", None, None)
    assert mirror["version"] > shown["version"]
    gate = world.one("select launchable, blockers from voice_clone.launch_gate(%s, %s)", reflection, user)
    assert gate == {"launchable": False, "blockers": ["no_voice"]}
    assert events(world, attempt)[-1] == "cancelled"
    kept = world.truth("select deleted_at from public.voices where attempt_id = %s", attempt)
    assert kept["deleted_at"] is None, "the owner's library still has it"
    assert reset(world, reflection, user) == answer, "saying so twice is saying it once"
    newer = world.launchable(user, reflection)
    assert world.mirror(reflection)["attemptId"] == str(newer)


@pytest.mark.parametrize("status", ["queued", "processing", "failed"])
def test_a_reset_ends_whatever_is_in_the_making(world: World, status: str) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    if status == "processing":
        world.claim(attempt)
    if status == "failed":
        fail(world, attempt)
    assert world.mirror(reflection)["cloneStatus"] == status
    assert reset(world, reflection, user)["status"] == "cancelled"
    assert world.mirror(reflection)["cloneStatus"] == "none"
    assert world.claim(attempt)["outcome"] == "inactive"


def test_where_there_never_was_a_voice_there_is_nothing_to_reset(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    opened = world.open(user, reflection)
    with refused("VC007", "nothing_to_reset"):
        reset(world, reflection, user)
    assert world.attempt(opened)["status"] == "awaiting_upload"


def test_what_a_worker_made_before_the_reset_becomes_an_orphan(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    epoch = world.claim(attempt)["lease_epoch"]
    enrollment = world.intend(attempt, epoch)
    reset(world, reflection, user)
    before, shown = world.attempt(attempt), world.mirror(reflection)
    with refused("VC002"):
        world.attach(attempt, epoch, enrollment)
    assert not world.one("select voice_clone.renew_lease(%s, %s, 60) as held", attempt, epoch)["held"]
    report = "select voice_clone.report_enrollment(%s, 'late-voice', 'm', false, 'r', null) as status"
    assert world.one(report, enrollment)["status"] == "orphaned"
    assert (world.attempt(attempt), world.mirror(reflection)) == (before, shown)


def test_a_runtime_that_was_being_synced_at_a_reset_stays_away(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    world.enroll(attempt)
    epoch = world.step(attempt, "runtime")
    reset(world, reflection, user)
    with refused("VC002"):
        world.one(
            "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)", attempt, epoch
        )
    assert world.mirror(reflection)["cloneStatus"] == "none"


def test_a_reset_waits_for_the_write_it_meets_and_wins(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.queued(user, reflection)
    epoch = world.claim(attempt)["lease_epoch"]
    enrollment = world.intend(attempt, epoch)
    with meanwhile(world, lambda: reset(world, reflection, user)) as second:
        world.superuser.execute(
            "select voice_clone.attach_voice(%s, %s, %s, 'v', 'm', 'r', null, null, false)",
            (attempt, epoch, enrollment),
        )
    assert second[0].result(10)["cancel_reason"] == "reset"
    assert world.attempt(attempt)["ready_at"] is not None
    assert world.mirror(reflection)["cloneStatus"] == "none"


def test_a_reset_after_a_withdrawn_consent_changes_nothing(world: World) -> None:
    user = world.user()
    reflection = world.reflection(user)
    attempt = world.launchable(user, reflection)
    revoke(world, attempt, user)
    assert reset(world, reflection, user)["cancel_reason"] == "consent_revoked"
