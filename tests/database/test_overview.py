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
