"""Enrollments that nobody resolves any more: looked up, closed, or removed after a grace and another look."""

from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest

from tests.world import Row, World

QUEUE = "voice_cleanup"


def sweep(world: World, limit: int = 100) -> int:
    return world.one("select voice_clone.sweep_enrollments(%s) as count", limit)["count"]


def asked_for(world: World) -> list[str]:
    """The enrollments that a clean-up was asked for since the last time."""
    found = [message["message"]["id"] for message in world.messages(QUEUE)]
    world.superuser.execute("select pgmq.purge_queue(%s)", (QUEUE,))
    return found


def begin(world: World, enrollment: UUID) -> str:
    row = world.one("select * from voice_clone.begin_cleanup(%s)", enrollment)
    return row["task"] if row["reason"] is None else row["reason"]


def end(world: World, enrollment: UUID, status: str, voice: str | None = None) -> str:
    return world.one(
        "select voice_clone.end_cleanup(%s, %s, %s, 'model-1', null) as status", enrollment, status, voice
    )["status"]


def enrollment_row(world: World, enrollment: UUID) -> Row:
    return world.truth("select * from voice_clone.enrollments where id = %s", enrollment)


def set_time(world: World, name: str, value: str) -> None:
    world.superuser.execute("update voice_clone.timeouts set value = %s where name = %s", (value, name))


def due(world: World, enrollment: UUID) -> None:
    """Whatever this enrollment waits for has come."""
    past: LiteralString = """
        update voice_clone.enrollments
        set settles_at = least(settles_at, now()), sweep_at = now(),
            orphaned_at = orphaned_at - interval '25 h'
        where id = %s
    """
    with world.superuser.transaction():
        world.superuser.execute("set local session_replication_role = replica")
        world.superuser.execute(past, (enrollment,))


def open_outcome(world: World, *, cancelled: bool = True) -> tuple[UUID, UUID]:
    """An attempt and its enrollment, whose worker got no answer; then the attempt's consent was withdrawn."""
    user = world.user()
    consent = world.consent(user)
    attempt = world.open(user, None, consent)
    world.queue(attempt, user)
    epoch = world.claim(attempt)["lease_epoch"]
    enrollment = world.intend(attempt, epoch)
    world.one("select voice_clone.resolve_enrollment(%s, %s, 'unknown', 'lost', null, 60)", enrollment, epoch)
    if cancelled:
        world.one("select * from voice_clone.revoke_consent(%s, %s)", consent, user)
    return attempt, enrollment


def orphan(world: World) -> tuple[UUID, UUID]:
    attempt, enrollment = open_outcome(world)
    assert end(world, enrollment, "orphaned", f"voice-of-{enrollment}") == "orphaned"
    return attempt, enrollment


def test_an_open_outcome_is_looked_up_once_it_is_settled(world: World) -> None:
    _, enrollment = open_outcome(world)
    assert (sweep(world), asked_for(world)) == (0, [])
    due(world, enrollment)
    assert (sweep(world), asked_for(world)) == (1, [str(enrollment)])
    assert (sweep(world), asked_for(world)) == (0, []), "the next look is later"
    assert begin(world, enrollment) == "look_up"


def test_an_outcome_that_a_worker_has_in_hand_is_left_to_it(world: World) -> None:
    _, enrollment = open_outcome(world, cancelled=False)
    due(world, enrollment)
    assert (sweep(world), asked_for(world)) == (1, [])
    assert begin(world, enrollment) == "has_worker"
    assert end(world, enrollment, "closed") == "unknown"
    assert end(world, enrollment, "orphaned", "voice") == "unknown"


def test_the_sweep_of_attempts_sweeps_enrollments_too(world: World) -> None:
    _, enrollment = open_outcome(world)
    due(world, enrollment)
    rows = world.service.execute("select what, count from voice_clone.sweep(10)").fetchall()
    assert rows == [{"what": "enrollments", "count": 1}]
    assert asked_for(world) == [str(enrollment)]


def test_what_the_provider_may_still_list_is_not_closed(world: World) -> None:
    _, enrollment = open_outcome(world)
    assert end(world, enrollment, "closed") == "unknown"
    due(world, enrollment)
    assert end(world, enrollment, "closed") == "closed"
    after = enrollment_row(world, enrollment)
    assert (after["error_code"], after["sweep_at"]) == ("never_made", None)


def test_a_voice_that_was_adopted_in_between_is_no_orphan(world: World) -> None:
    attempt, enrollment = open_outcome(world, cancelled=False)
    with world.superuser.transaction():  # the look-up began while nobody worked on the attempt
        world.superuser.execute("set local session_replication_role = replica")
        world.superuser.execute(
            "update public.voice_clone_attempts set is_active = false where id = %s", (attempt,)
        )
    assert begin(world, enrollment) == "look_up"
    with world.superuser.transaction():
        world.superuser.execute("set local session_replication_role = replica")
        world.superuser.execute(
            "update public.voice_clone_attempts set is_active = true where id = %s", (attempt,)
        )
    world.attach(attempt, world.attempt(attempt)["lease_epoch"], enrollment)
    assert end(world, enrollment, "orphaned", f"voice-of-{enrollment}") == "attached"
    assert begin(world, enrollment) == "attached"
    assert enrollment_row(world, enrollment)["sweep_at"] is None


def test_a_voice_that_was_reported_for_an_attempt_cancelled_since_is_an_orphan(world: World) -> None:
    _, enrollment = open_outcome(world, cancelled=False)
    world.one(
        "select voice_clone.report_enrollment(%s, 'voice', 'm', false, 'r', null) as status", enrollment
    )
    world.superuser.execute("update public.voice_clone_attempts set status = 'cancelled', is_active = false,"
                            " lease_owner = null, lease_seconds = null")  # fmt: skip
    assert begin(world, enrollment) == "orphaned"
    assert enrollment_row(world, enrollment)["status"] == "orphaned"


def test_an_orphan_is_removed_after_its_grace_and_not_before(world: World) -> None:
    _, enrollment = orphan(world)
    assert (sweep(world), asked_for(world)) == (0, [])
    assert begin(world, enrollment) == "in_grace"
    due(world, enrollment)
    assert (sweep(world), asked_for(world)) == (1, [str(enrollment)])
    assert begin(world, enrollment) == "remove"
    assert enrollment_row(world, enrollment)["status"] == "removing", "committed before the provider's call"
    assert end(world, enrollment, "removed") == "removed"
    assert begin(world, enrollment) == "removed"
    assert enrollment_row(world, enrollment)["sweep_at"] is None


def test_the_grace_is_a_setting(world: World) -> None:
    set_time(world, "orphan_grace", "0")
    _, enrollment = orphan(world)
    assert (sweep(world), asked_for(world)) == (1, [str(enrollment)])
    assert begin(world, enrollment) == "remove"


def test_a_removal_whose_outcome_is_unknown_is_checked_first(world: World) -> None:
    _, enrollment = orphan(world)
    due(world, enrollment)
    assert begin(world, enrollment) == "remove"
    assert sweep(world) == 0, "whoever began it is still at it"
    assert begin(world, enrollment) == "check"
    due(world, enrollment)
    assert (sweep(world), asked_for(world)) == (1, [str(enrollment)])


def test_an_orphan_that_is_somebodys_after_all_is_not_removed(world: World) -> None:
    attempt, enrollment = orphan(world)
    due(world, enrollment)
    world.superuser.execute(OWN, (attempt, f"voice-of-{enrollment}"))
    assert begin(world, enrollment) == "owned"
    assert enrollment_row(world, enrollment)["status"] == "orphaned"


OWN: LiteralString = """
    insert into public.voices (
      id, user_id, attempt_id, name, language, tts_provider, provider_region, provider_voice_id,
      provider_target_model, provider_voice_kind)
    select gen_random_uuid(), a.user_id, a.id, 'Ada', 'en', a.provider, a.region, v.voice, 'm', 'match'
    from public.voice_clone_attempts a, (values (%s::uuid, %s)) v (attempt, voice) where a.id = v.attempt
"""


def test_a_voice_that_is_being_removed_can_be_nobodys(world: World) -> None:
    attempt, enrollment = orphan(world)
    due(world, enrollment)
    begin(world, enrollment)
    with pytest.raises(psycopg.Error) as caught:
        world.superuser.execute(OWN, (attempt, f"voice-of-{enrollment}"))
    assert caught.value.sqlstate == "VC007"


def test_owning_and_removing_a_voice_at_once_is_one_of_them(world: World) -> None:
    attempt, enrollment = orphan(world)
    due(world, enrollment)
    with world.superuser.transaction():
        world.superuser.execute(OWN, (attempt, f"voice-of-{enrollment}"))
        with ThreadPoolExecutor() as threads:
            beginning = threads.submit(begin, world, enrollment)
            waits = (
                "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
            )
            while world.superuser.execute(waits).fetchone() is None and not beginning.done():
                pass
            assert not beginning.done()
            world.superuser.execute("commit")
            world.superuser.execute("begin")
            assert beginning.result() == "owned"


def test_two_sweeps_at_once_share_the_work(world: World) -> None:
    enrollments = {open_outcome(world)[1] for _ in range(6)}
    for enrollment in enrollments:
        due(world, enrollment)
    with psycopg.connect(world.database.service) as other:
        assert other.execute("select voice_clone.sweep_enrollments(4)").fetchone() == (4,)
        world.service.execute("set lock_timeout = '5 s'")
        assert sweep(world) == 2
    assert sorted(asked_for(world)) == sorted(str(each) for each in enrollments)


def test_a_clean_up_of_what_is_not_there_says_so(world: World) -> None:
    with pytest.raises(psycopg.Error) as caught:
        begin(world, world.user())
    assert caught.value.sqlstate == "VC004"


def test_a_maker_that_comes_late_is_told_that_its_voice_is_being_removed(world: World) -> None:
    _, enrollment = orphan(world)
    due(world, enrollment)
    assert begin(world, enrollment) == "remove"
    report = "select voice_clone.report_enrollment(%s, %s, 'model-1', false, null, null) as status"
    assert world.one(report, enrollment, f"voice-of-{enrollment}")["status"] == "removing"
    assert end(world, enrollment, "removed") == "removed"
    assert world.one(report, enrollment, f"voice-of-{enrollment}")["status"] == "removed"
