"""Attempts that are not retried, not restored and not spoken with, and recordings that are not assigned."""

from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.situations import fail_step, refused, reset, retry
from tests.database.test_employee_voices import Staffed
from tests.fixture import Fixture

SPEAK = "select p.* from public.voice_clone_attempts a, voice_clone.request_preview_of(a) p where a.id = %s"
ASSIGN = "select voice_clone.assign_recording(%s, %s, %s)"


@pytest.fixture
def user(given: Fixture) -> UUID:
    return given.user()


def test_a_voice_that_has_not_failed_is_not_retried(given: Fixture, user: UUID) -> None:
    reflection = given.reflection(user)
    with refused("VC007", "nothing_to_retry"):
        retry(given, reflection, user)
    given.launchable(user, reflection)
    with refused("VC007", "nothing_to_retry"):
        retry(given, reflection, user)


def test_a_step_is_retried_without_the_sample_of_its_voice(given: Fixture, user: UUID) -> None:
    reflection = given.reflection(user)
    attempt = given.queued(user, reflection)
    given.enroll(attempt)
    fail_step(given, attempt, "runtime")
    given.superuser.execute(
        "update public.voice_samples set status = 'removed' where id = %s",
        (given.attempt(attempt)["sample_id"],),
    )
    assert retry(given, reflection, user)["runtime_status"] == "pending"


def test_a_voice_that_was_reset_is_neither_restored_nor_spoken_with(given: Fixture, user: UUID) -> None:
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    reset(given, reflection, user)
    with refused("VC001"):
        given.superuser.execute(
            "update public.voice_clone_attempts set status = 'ready', is_active = true, cancel_reason = null"
            " where id = %s",
            (attempt,),
        )
    with refused("VC001"):
        given.truth(SPEAK, attempt)


def test_a_recording_that_is_not_there_is_not_assigned(given: Fixture) -> None:
    acme = Staffed(given)
    with pytest.raises(psycopg.Error) as caught:
        given.one(ASSIGN, uuid4(), acme.employee, acme.admin)
    assert (caught.value.sqlstate, caught.value.diag.message_detail) == ("VC004", None)
