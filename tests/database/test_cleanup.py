"""Enrollments without a worker: looked up, closed, or removed after a grace period and a second check."""

from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest

from tests.fixture import Fixture, Row

QUEUE = "voice_cleanup"


def sweep(given: Fixture, limit: int = 100) -> int:
    return given.one("select voice_clone.sweep_enrollments(%s) as count", limit)["count"]


def asked_for(given: Fixture) -> list[str]:
    """The enrollments with a new cleanup message since the last call."""
    found = [message["message"]["id"] for message in given.messages(QUEUE)]
    given.superuser.execute("select pgmq.purge_queue(%s)", (QUEUE,))
    return found


def begin(given: Fixture, enrollment: UUID) -> str:
    row = given.one("select * from voice_clone.begin_cleanup(%s)", enrollment)
    return row["task"] if row["reason"] is None else row["reason"]


def end(given: Fixture, enrollment: UUID, status: str, voice: str | None = None) -> str:
    return given.one(
        "select voice_clone.end_cleanup(%s, %s, %s, 'model-1', null) as status", enrollment, status, voice
    )["status"]


def enrollment_row(given: Fixture, enrollment: UUID) -> Row:
    return given.truth("select * from voice_clone.enrollments where id = %s", enrollment)


def set_time(given: Fixture, name: str, value: str) -> None:
    given.superuser.execute("update voice_clone.timeouts set value = %s where name = %s", (value, name))


def due(given: Fixture, enrollment: UUID) -> None:
    """Make this enrollment due."""
    past: LiteralString = """
        update voice_clone.enrollments
        set settles_at = least(settles_at, now()), sweep_at = now(),
            orphaned_at = orphaned_at - interval '25 h'
        where id = %s
    """
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(past, (enrollment,))


def open_outcome(given: Fixture, *, cancelled: bool = True) -> tuple[UUID, UUID]:
    """An attempt and its enrollment, whose worker got no response; then the attempt is cancelled."""
    user = given.user()
    attempt = given.queued(user, None)
    epoch = given.claim(attempt)["lease_epoch"]
    enrollment = given.intend(attempt, epoch)
    given.one("select voice_clone.resolve_enrollment(%s, %s, 'unknown', 'lost', null, 60)", enrollment, epoch)
    if cancelled:
        given.truth("select voice_clone.cancel_attempts('reset', p_attempts => %s)", [attempt])
    return attempt, enrollment


def orphan(given: Fixture) -> tuple[UUID, UUID]:
    attempt, enrollment = open_outcome(given)
    assert end(given, enrollment, "orphaned", f"voice-of-{enrollment}") == "orphaned"
    return attempt, enrollment


def test_an_open_outcome_is_looked_up_once_it_is_settled(given: Fixture) -> None:
    _, enrollment = open_outcome(given)
    assert (sweep(given), asked_for(given)) == (0, [])
    due(given, enrollment)
    assert (sweep(given), asked_for(given)) == (1, [str(enrollment)])
    assert (sweep(given), asked_for(given)) == (0, []), "the next look is later"
    assert begin(given, enrollment) == "look_up"


def test_an_outcome_that_a_worker_has_in_hand_is_left_to_it(given: Fixture) -> None:
    _, enrollment = open_outcome(given, cancelled=False)
    due(given, enrollment)
    assert (sweep(given), asked_for(given)) == (1, [])
    assert begin(given, enrollment) == "has_worker"
    assert end(given, enrollment, "closed") == "unknown"
    assert end(given, enrollment, "orphaned", "voice") == "unknown"


def test_the_sweep_of_attempts_sweeps_enrollments_too(given: Fixture) -> None:
    _, enrollment = open_outcome(given)
    due(given, enrollment)
    rows = given.service.execute("select what, count from voice_clone.sweep(10)").fetchall()
    assert rows == [{"what": "enrollments", "count": 1}]
    assert asked_for(given) == [str(enrollment)]


def test_what_the_provider_may_still_list_is_not_closed(given: Fixture) -> None:
    _, enrollment = open_outcome(given)
    assert end(given, enrollment, "closed") == "unknown"
    due(given, enrollment)
    assert end(given, enrollment, "closed") == "closed"
    after = enrollment_row(given, enrollment)
    assert (after["error_code"], after["sweep_at"]) == ("never_made", None)


def test_a_voice_that_was_adopted_in_between_is_no_orphan(given: Fixture) -> None:
    attempt, enrollment = open_outcome(given, cancelled=False)
    with given.superuser.transaction():  # the look-up began while nobody worked on the attempt
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update public.voice_clone_attempts set is_active = false where id = %s", (attempt,)
        )
    assert begin(given, enrollment) == "look_up"
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update public.voice_clone_attempts set is_active = true where id = %s", (attempt,)
        )
    given.attach(attempt, given.attempt(attempt)["lease_epoch"], enrollment)
    assert end(given, enrollment, "orphaned", f"voice-of-{enrollment}") == "attached"
    assert begin(given, enrollment) == "attached"
    assert enrollment_row(given, enrollment)["sweep_at"] is None


def test_a_voice_that_was_reported_for_an_attempt_cancelled_since_is_an_orphan(given: Fixture) -> None:
    _, enrollment = open_outcome(given, cancelled=False)
    given.one(
        "select voice_clone.report_enrollment(%s, 'voice', 'm', false, 'r', null) as status", enrollment
    )
    given.superuser.execute("update public.voice_clone_attempts set status = 'cancelled', is_active = false,"
                            " lease_owner = null, lease_seconds = null")  # fmt: skip
    assert begin(given, enrollment) == "orphaned"
    assert enrollment_row(given, enrollment)["status"] == "orphaned"


def test_an_orphan_is_removed_after_its_grace_and_not_before(given: Fixture) -> None:
    _, enrollment = orphan(given)
    assert (sweep(given), asked_for(given)) == (0, [])
    assert begin(given, enrollment) == "in_grace"
    due(given, enrollment)
    assert (sweep(given), asked_for(given)) == (1, [str(enrollment)])
    assert begin(given, enrollment) == "remove"
    assert enrollment_row(given, enrollment)["status"] == "removing", "committed before the provider's call"
    assert end(given, enrollment, "removed") == "removed"
    assert begin(given, enrollment) == "removed"
    assert enrollment_row(given, enrollment)["sweep_at"] is None


def test_the_grace_is_a_setting(given: Fixture) -> None:
    set_time(given, "orphan_grace", "0")
    _, enrollment = orphan(given)
    assert (sweep(given), asked_for(given)) == (1, [str(enrollment)])
    assert begin(given, enrollment) == "remove"


def test_a_removal_whose_outcome_is_unknown_is_checked_first(given: Fixture) -> None:
    _, enrollment = orphan(given)
    due(given, enrollment)
    assert begin(given, enrollment) == "remove"
    assert sweep(given) == 0, "its worker may still run"
    assert begin(given, enrollment) == "check"
    due(given, enrollment)
    assert (sweep(given), asked_for(given)) == (1, [str(enrollment)])


def test_an_orphan_that_is_somebodys_after_all_is_not_removed(given: Fixture) -> None:
    attempt, enrollment = orphan(given)
    due(given, enrollment)
    given.superuser.execute(OWN, (attempt, f"voice-of-{enrollment}"))
    assert begin(given, enrollment) == "owned"
    assert enrollment_row(given, enrollment)["status"] == "orphaned"


OWN: LiteralString = """
    insert into public.voices (
      id, user_id, attempt_id, name, language, tts_provider, provider_region, provider_voice_id,
      provider_target_model, provider_voice_kind)
    select gen_random_uuid(), a.user_id, a.id, 'Ada', 'en', a.provider, a.region, v.voice, 'm', 'match'
    from public.voice_clone_attempts a, (values (%s::uuid, %s)) v (attempt, voice) where a.id = v.attempt
"""


def test_a_voice_that_is_being_removed_cannot_be_attached(given: Fixture) -> None:
    attempt, enrollment = orphan(given)
    due(given, enrollment)
    begin(given, enrollment)
    with pytest.raises(psycopg.Error) as caught:
        given.superuser.execute(OWN, (attempt, f"voice-of-{enrollment}"))
    assert caught.value.sqlstate == "VC007"


def test_owning_and_removing_a_voice_at_once_is_one_of_them(given: Fixture) -> None:
    attempt, enrollment = orphan(given)
    due(given, enrollment)
    with given.superuser.transaction():
        given.superuser.execute(OWN, (attempt, f"voice-of-{enrollment}"))
        with ThreadPoolExecutor() as threads:
            beginning = threads.submit(begin, given, enrollment)
            waits = (
                "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
            )
            while given.superuser.execute(waits).fetchone() is None and not beginning.done():
                pass
            assert not beginning.done()
            given.superuser.execute("commit")
            given.superuser.execute("begin")
            assert beginning.result() == "owned"


def test_a_sweep_waits_for_nobody_who_refers_to_an_enrollment(given: Fixture) -> None:
    """A voice that is written twice locks its enrollment's key. A sweep that waits for it holds the row."""
    used, free = open_outcome(given)[1], open_outcome(given)[1]
    for enrollment in (used, free):
        due(given, enrollment)
    with psycopg.connect(given.database.superuser) as writer:
        writer.execute("select from voice_clone.enrollments where id = %s for key share", (used,))
        given.service.execute("set lock_timeout = '5 s'")
        assert sweep(given) == 1
    assert asked_for(given) == [str(free)]
    assert sweep(given) == 1


def test_two_sweeps_at_once_share_the_work(given: Fixture) -> None:
    enrollments = {open_outcome(given)[1] for _ in range(6)}
    for enrollment in enrollments:
        due(given, enrollment)
    with psycopg.connect(given.database.service) as other:
        assert other.execute("select voice_clone.sweep_enrollments(4)").fetchone() == (4,)
        given.service.execute("set lock_timeout = '5 s'")
        assert sweep(given) == 2
    assert sorted(asked_for(given)) == sorted(str(each) for each in enrollments)


def test_a_clean_up_of_what_is_not_there_says_so(given: Fixture) -> None:
    with pytest.raises(psycopg.Error) as caught:
        begin(given, given.user())
    assert caught.value.sqlstate == "VC004"


def test_a_maker_that_comes_late_is_told_that_its_voice_is_being_removed(given: Fixture) -> None:
    _, enrollment = orphan(given)
    due(given, enrollment)
    assert begin(given, enrollment) == "remove"
    report = "select voice_clone.report_enrollment(%s, %s, 'model-1', false, null, null) as status"
    assert given.one(report, enrollment, f"voice-of-{enrollment}")["status"] == "removing"
    assert end(given, enrollment, "removed") == "removed"
    assert given.one(report, enrollment, f"voice-of-{enrollment}")["status"] == "removed"
