"""What is refused about employees, their invitations and their recordings, and met by no other test."""

from typing import LiteralString
from uuid import uuid4

import pytest

from tests.database import test_recordings as recordings
from tests.database.situations import copy, refused
from tests.database.test_employee_voices import Staffed
from tests.fixture import Fixture

ASSIGN_ANY: LiteralString = "select operations.assign_recording(%s, %s)"


@pytest.fixture
def acme(given: Fixture) -> Staffed:
    return Staffed(given)


def test_a_recording_is_assigned_where_both_are_there(given: Fixture) -> None:
    admin = given.user()
    of, organization = recordings.employee(given, admin)
    recording = recordings.receive(given, recordings.sid("CA"), organization=organization)["recording_id"]
    for pair in ((uuid4(), of), (recording, uuid4())):
        with refused("VC004"):
            given.superuser.execute(ASSIGN_ANY, pair)
    with refused("VC004"):
        given.one("select voice_clone.assign_recording(%s, %s, %s)", uuid4(), of, admin)


def test_an_employee_without_an_attempt_has_no_preview(given: Fixture, acme: Staffed) -> None:
    with refused("VC004"):
        given.one("select * from voice_clone.request_employee_preview(%s, %s)", acme.employee, acme.admin)


@pytest.mark.parametrize("sign", ["select * from voice_clone.sign_invitation(%s, %s, 'xx', null, 1)",
                                  "select * from voice_clone.read_invitation(%s, %s, 'xx')"])  # fmt: skip
def test_a_statement_that_has_no_such_language_is_named(
    given: Fixture, acme: Staffed, sign: LiteralString
) -> None:
    token = given.invitation(acme.employee, acme.admin)
    with refused("VC006", "statement_not_found"):
        given.one(sign, acme.employee, token)


def test_a_link_is_signed_by_its_employee_in_the_current_version(given: Fixture, acme: Staffed) -> None:
    employee = given.employee(acme.id, email="bo@example.org")
    token, sign = (
        given.invitation(employee, acme.admin),
        "select * from voice_clone.sign_invitation(%s, %s, 'en', %s, %s)",
    )
    with refused("VC009", "not_the_employee"):
        given.one(sign, employee, token, given.user(), 1)
    with refused("VC007"):
        given.one(sign, employee, token, None, 7)


def test_an_organization_has_so_many_unfinished_attempts(given: Fixture, acme: Staffed) -> None:
    sample = given.recording(acme.employee, acme.admin)
    for _ in range(20):
        colleague = given.employee(acme.id)
        given.employee_consent(colleague, acme.admin)
        given.clone_recording(colleague, acme.admin)
    with refused("VC008", "too_many_attempts"):
        given.one(
            "select * from voice_clone.clone_recording(%s, %s, %s, %s, 'local', '', true, null)",
            uuid4(), sample, acme.employee, acme.admin,
        )  # fmt: skip


def test_an_employee_who_has_not_consented_is_not_cloned(given: Fixture, acme: Staffed) -> None:
    colleague = given.employee(acme.id)
    with refused("VC003"):
        given.one("select voice_clone.check_employee_clone(%s, %s, null)", colleague, acme.admin)


def test_an_attempt_is_for_an_employee_of_its_organization(given: Fixture, acme: Staffed) -> None:
    other, attempt = Staffed(given), acme.queued()
    with refused("VC004"):
        copy(
            given, "public.voice_clone_attempts", attempt, employee_id=other.employee, is_active=False,
            status="awaiting_upload", voice_id=uuid4(),
        )  # fmt: skip


def test_a_trigger_that_changes_the_mirror_of_an_employee_is_refused(given: Fixture, acme: Staffed) -> None:
    acme.queued()
    given.superuser.execute(
        "create function public.spoil() returns trigger language plpgsql as $$"
        ' begin new.voice := new.voice || \'{"cloneStatus": "ready"}\'; return new; end $$;'
        "create trigger aa_spoil before update on public.employees"
        " for each row execute function public.spoil()"
    )
    with refused("42501"):
        given.one("select voice_clone.mirror_reflections(%s)", [acme.employee])


def test_a_late_writer_of_a_file_releases_nothing(given: Fixture, acme: Staffed) -> None:
    acme.launchable()
    given.one("select * from voice_clone.claim_employee_file(%s)", acme.employee)
    before = given.truth("select * from voice_clone.employee_files where employee_id = %s", acme.employee)
    given.one("select voice_clone.release_employee_file(%s, 0, 'late', false)", acme.employee)
    assert (
        given.truth("select * from voice_clone.employee_files where employee_id = %s", acme.employee)
        == before
    )
