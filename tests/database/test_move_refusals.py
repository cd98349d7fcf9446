"""Moves and retries of the voice of an employee that are refused, and who may read its sample."""

import pytest

from tests.database.situations import fail, fail_step, meanwhile, refused
from tests.database.test_employee_consents import REVOKE
from tests.database.test_employee_moves import elsewhere, moved
from tests.database.test_employee_voices import Staffed
from tests.fixture import Fixture

SAMPLE = "select * from voice_clone.sample_of_employee(%s, %s)"


@pytest.fixture
def acme(given: Fixture) -> Staffed:
    return Staffed(given)


def test_an_admin_who_left_while_the_move_waited_moves_nothing(given: Fixture, acme: Staffed) -> None:
    acme.launchable()
    given.add_member(acme.id, given.user(), "admin")
    with meanwhile(given, lambda: moved(acme)) as move:
        given.superuser.execute("select from public.employees where id = %s for update", (acme.employee,))
        given.superuser.execute(
            "delete from public.organization_members where org_id = %s and user_id = %s",
            (acme.id, acme.admin),
        )
    with refused("VC004"):
        move[0].result(10)


def test_a_sample_whose_consent_is_revoked_is_not_cloned_elsewhere(given: Fixture, acme: Staffed) -> None:
    """The revocation has not cancelled the attempt, as by a trigger that was disabled."""
    fail(given, attempt := acme.queued())
    given.superuser.execute(
        "alter table public.voice_consents disable trigger voice_consents_apply_revocation"
    )
    given.one(REVOKE, acme.employee, acme.token)
    with refused("VC003"):
        elsewhere(acme, attempt)


def test_a_voice_whose_sample_was_removed_is_not_cloned_elsewhere(given: Fixture, acme: Staffed) -> None:
    given.enroll(attempt := acme.queued())
    fail_step(given, attempt, "runtime")
    given.superuser.execute(
        "update public.voice_samples set status = 'removed' where id = %s",
        (given.attempt(attempt)["sample_id"],),
    )
    with refused("VC007", "sample_missing"):
        elsewhere(acme, attempt)


def test_an_admin_alone_reads_what_the_sample_was_measured_as(given: Fixture, acme: Staffed) -> None:
    attempt = acme.queued()
    assert given.one(SAMPLE, acme.employee, acme.admin)["attempt_id"] == attempt
    for user, sqlstate in ((acme.member, "VC009"), (given.user(), "VC004")):
        with refused(sqlstate):
            given.one(SAMPLE, acme.employee, user)
