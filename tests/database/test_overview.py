"""What the operator's page reads, and the retry by an operator."""

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.situations import fail, fail_step
from tests.fixture import Fixture

DAY = "select * from operations.attempt_series(now() - interval '1 day', now() + interval '1 hour')"
RETRY = "select * from operations.retry_attempt(%s)"


@pytest.fixture
def user(given: Fixture) -> UUID:
    return given.user()


def overview(given: Fixture) -> dict[str, Any]:
    return given.one("select operations.overview() as found")["found"]


def test_a_mirror_that_is_behind_is_counted_until_it_is_written(given: Fixture, user: UUID) -> None:
    reflection = given.reflection(user)
    given.launchable(user, reflection)
    given.open(user, None)  # has no mirror
    given.superuser.execute(
        "alter table public.voice_clone_attempts disable trigger user;"
        "update public.voice_clone_attempts set updated_at = now() - interval '90 s';"
        "alter table public.voice_clone_attempts enable trigger user"
    )
    behind = overview(given)["mirror"]
    assert behind["behind"] == 1
    assert 90 <= behind["oldest_seconds"] < 600
    given.mirror(reflection)
    assert overview(given)["mirror"] == {"behind": 0, "oldest_seconds": 0}


def test_the_mirror_of_an_employee_is_counted_too(given: Fixture, user: UUID) -> None:
    employee = given.employee(given.organization(user))
    given.employee_consent(employee, user)
    given.clone_recording(employee, user)
    assert overview(given)["mirror"]["behind"] == 1
    given.one("select voice_clone.mirror_reflections(%s)", [employee])
    assert overview(given)["mirror"]["behind"] == 0


def test_attempts_of_employees_are_counted_apart(given: Fixture, user: UUID) -> None:
    given.queued(user, None)
    employee = given.employee(given.organization(user))
    given.employee_consent(employee, user)
    given.clone_recording(employee, user)
    none = {"attempts": 0, "for_employees": 0}
    queued = {"attempts": 2, "for_employees": 1}
    assert overview(given)["unfinished"] == {"awaiting_upload": none, "queued": queued, "processing": none}


def test_takedowns_are_counted_while_they_are_in_force(given: Fixture, user: UUID) -> None:
    assert overview(given)["takedowns"] == {"open": 0, "attempts": 0, "oldest": None}
    attempt = given.queued(user, None)
    given.truth("select operations.take_down(%s, 'Notice 17', true)", attempt)
    found = overview(given)["takedowns"]
    assert (found["open"], found["attempts"], found["oldest"] is None) == (1, 1, False)
    given.truth("select operations.lift_takedown(%s, 'Withdrawn', true)", attempt)
    assert overview(given)["takedowns"]["open"] == 0


def test_an_erasure_is_counted_until_each_place_is_confirmed(given: Fixture, user: UUID) -> None:
    assert overview(given)["erasures"] == {"open": 0, "oldest_seconds": 0}
    given.launchable(user, given.reflection(user))
    given.one("select voice_clone.request_erasure(%s)", user)
    assert overview(given)["erasures"]["open"] == 1


def test_checks_of_voices_are_late_after_three_intervals(given: Fixture, user: UUID) -> None:
    given.launchable(user, given.reflection(user))
    aged = (
        "update voice_clone.voice_checks set voices = 1, complete_at = now() - %s::interval, error_code = %s"
    )
    for age, code, is_late in (("2 days", None, False), ("73 hours", "provider_unavailable", True)):
        given.superuser.execute(aged.encode(), (age, code))
        (check,) = overview(given)["voice_checks"]
        assert (check["provider"], check["error_code"], check["is_late"]) == ("local", code, is_late)


def test_an_account_whose_first_round_never_ended_is_late_too(given: Fixture, user: UUID) -> None:
    given.launchable(user, given.reflection(user))
    (check,) = overview(given)["voice_checks"]
    assert not check["is_late"]
    given.superuser.execute("update voice_clone.voice_checks set created_at = now() - interval '4 days'")
    (check,) = overview(given)["voice_checks"]
    assert check["is_late"]


def test_consents_are_counted_as_the_last_check_found_them(given: Fixture) -> None:
    assert overview(given)["consents"]["broken"] == 0
    given.superuser.execute("update voice_clone.consent_checks set broken = 2")
    assert overview(given)["consents"]["broken"] == 2


def test_the_series_counts_what_was_reached_with_its_provider_error_and_time(
    given: Fixture, user: UUID
) -> None:
    given.launchable(user, given.reflection(user))
    fail(given, given.queued(user, given.reflection(user)))
    rows = given.service.execute(DAY.encode()).fetchall()
    found = {(row["status"], row["error_code"], row["count"]) for row in rows}
    assert found == {
        ("awaiting_upload", None, 2), ("queued", None, 2), ("processing", None, 2), ("ready", None, 1),
        ("failed", "sample_rejected", 1),
    }  # fmt: skip
    assert {row["provider"] for row in rows} == {"local"}
    for row in rows:
        assert row["since"].minute % 10 == row["since"].second == 0
        assert (row["scale"] is not None) == (row["status"] == "ready")


def test_a_time_until_ready_is_within_a_fifth(given: Fixture, user: UUID) -> None:
    attempt = given.queued(user, None)
    given.superuser.execute(
        "alter table public.voice_clone_attempts disable trigger user;"
        "update public.voice_clone_attempts set queued_at = now() - interval '100 s';"
        "alter table public.voice_clone_attempts enable trigger user"
    )
    given.enroll(attempt)
    (scale,) = [row["scale"] for row in given.service.execute(DAY.encode()) if row["status"] == "ready"]
    assert 100 <= 2 ** (scale / 4) < 130


def test_the_series_is_a_day_at_most(given: Fixture, user: UUID) -> None:
    given.queued(user, None)
    long = "select count(*) as rows from operations.attempt_series('2000-01-01', %s)"
    assert given.one(long, "2999-01-01")["rows"] == 0, "a day before its end, and nothing before that"


def test_only_what_is_still_failed_is_listed(given: Fixture, user: UUID) -> None:
    listed = "select id from operations.failed_attempts(now() - interval '1 hour')"
    attempts = [given.queued(user, given.reflection(user)) for _ in range(3)]
    fail(given, attempts[0])
    given.enroll(attempts[1])
    fail_step(given, attempts[1], "runtime")
    fail(given, attempts[2])
    assert {row["id"] for row in given.service.execute(listed.encode())} == set(attempts)
    given.one(RETRY, attempts[0])
    given.truth("select voice_clone.cancel_attempts('reset', p_attempts => array[%s::uuid])", attempts[2])
    assert [row["id"] for row in given.service.execute(listed.encode())] == [attempts[1]]


@pytest.mark.parametrize("what", ["reflection", "employee", "library"])
def test_an_operator_retries_for_the_user(given: Fixture, user: UUID, what: str) -> None:
    if what == "employee":
        employee = given.employee(given.organization(user))
        given.employee_consent(employee, user)
        attempt = given.clone_recording(employee, user)
    else:
        attempt = given.queued(user, given.reflection(user) if what == "reflection" else None)
    fail(given, attempt)
    assert given.one(RETRY, attempt)["status"] == "queued"
    row = given.attempt(attempt)
    assert (row["user_retry_count"], row["error_code"], row["is_active"]) == (1, None, True)
    with pytest.raises(psycopg.Error, match="nothing has failed") as refused:
        given.one(RETRY, attempt)
    assert refused.value.sqlstate == "VC007"


def test_a_retry_needs_an_active_attempt_that_is_there(given: Fixture, user: UUID) -> None:
    with pytest.raises(psycopg.Error, match="no such attempt") as missing:
        given.one(RETRY, uuid4())
    assert missing.value.sqlstate == "VC004"
    reflection = given.reflection(user)
    first = given.queued(user, reflection)
    fail(given, first)
    given.queued(user, reflection)
    with pytest.raises(psycopg.Error, match="another attempt is active") as superseded:
        given.one(RETRY, first)
    assert superseded.value.sqlstate == "VC007"
