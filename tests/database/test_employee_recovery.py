"""What an admin does about the voice of an employee that failed, and who follows its attempt."""

from uuid import UUID

import psycopg
import pytest

from tests.database.situations import fail, fail_step, refused
from tests.database.test_employee_voices import Staffed
from tests.fixture import Fixture

RETRY = "select * from voice_clone.retry_employee_attempt(%s, %s)"
RESET = "select * from voice_clone.reset_employee_attempt(%s, %s)"
FOLLOW = "select voice_clone.has_more_events(%s, %s, 0) as more"


@pytest.fixture
def acme(given: Fixture) -> Staffed:
    return Staffed(given)


def test_an_admin_retries_what_failed_within_the_budget(given: Fixture, acme: Staffed) -> None:
    with refused("VC007", "nothing_to_retry"):
        given.one(RETRY, acme.employee, acme.admin)
    attempt = acme.queued()
    for _ in range(5):
        fail(given, attempt)
        again = given.one(RETRY, acme.employee, acme.admin)
        assert (again["id"], again["status"], again["error_code"]) == (attempt, "queued", None)
    fail(given, attempt)
    with refused("VC007", "retry_budget_used"):
        given.one(RETRY, acme.employee, acme.admin)


def test_a_preview_that_failed_is_retried(given: Fixture, acme: Staffed) -> None:
    given.enroll(attempt := acme.queued())
    fail_step(given, attempt, "preview")
    assert given.one(RETRY, acme.employee, acme.admin)["preview_status"] == "required"


def test_an_employee_without_an_attempt_is_told_how_to_get_one(given: Fixture, acme: Staffed) -> None:
    with pytest.raises(psycopg.Error) as error:
        given.one(RETRY, acme.employee, acme.admin)
    assert '"code": "nothing_to_retry"' in (error.value.diag.message_detail or "")
    assert "/api/employees/{id}/clone-voice" in (error.value.diag.message_hint or "")


def test_a_reset_leaves_no_voice_and_keeps_the_recording(given: Fixture, acme: Staffed) -> None:
    with refused("VC007", "nothing_to_reset"):
        given.one(RESET, acme.employee, acme.admin)
    attempt = acme.launchable()
    assert acme.row()["voice_id"]
    row = given.one(RESET, acme.employee, acme.admin)
    assert (row["id"], row["status"], row["cancel_reason"]) == (attempt, "cancelled", "reset")
    assert given.one(RESET, acme.employee, acme.admin) == row
    assert acme.row()["voice_id"] is None
    assert given.sample(row["sample_id"])["status"] == "ready"
    acme.queued()


@pytest.mark.parametrize("call", [RETRY, RESET])
def test_members_and_strangers_change_nothing(given: Fixture, acme: Staffed, call: str) -> None:
    fail(given, attempt := acme.queued())
    other = Staffed(given)
    for user, sqlstate in ((acme.member, "VC009"), (other.admin, "VC004"), (given.user(), "VC004")):
        with refused(sqlstate):
            given.one(call, acme.employee, user)
    assert given.attempt(attempt)["status"] == "failed"


def test_members_follow_the_attempt_and_nobody_else_does(given: Fixture, acme: Staffed) -> None:
    attempt = acme.queued()

    def follows(user: UUID) -> bool | None:
        return given.one(FOLLOW, attempt, user)["more"]

    others = Staffed(given)
    assert [follows(user) for user in (acme.admin, acme.member, others.admin, given.user())] == [
        True, True, None, None,
    ]  # fmt: skip
    given.superuser.execute("delete from public.organization_members where user_id = %s", (acme.member,))
    assert follows(acme.member) is None
