"""The consent of an employee: invited by an admin, signed and revoked with a link, kept in the ledger."""

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from tests.fixture import Fixture, Row

CHECK = "select voice_clone.check_employee_consent(%s, %s)"
REVOKE = "select * from voice_clone.revoke_by_invitation(%s, %s)"


class Acme:
    """An organization with an admin, a member and an employee."""

    def __init__(self, given: Fixture, email: str | None = None) -> None:
        self.admin, self.member = given.user(), given.user()
        self.id = given.organization(self.admin)
        given.add_member(self.id, self.member)
        self.employee = given.employee(self.id, email)


@pytest.fixture
def acme(given: Fixture) -> Acme:
    return Acme(given)


def refused(given: Fixture, sql: str, *parameters: object) -> tuple[str | None, str | None]:
    with pytest.raises(psycopg.Error) as raised:
        given.one(sql, *parameters)
    return raised.value.sqlstate, raised.value.diag.message_detail


INVALID = ("VC004", '{"code": "invitation_invalid"}')
SIGN = "select * from voice_clone.sign_invitation(%s, %s, 'en', %s, 1)"


def covers(given: Fixture, consent: UUID, employee: UUID) -> bool:
    try:
        given.superuser.execute(CHECK, (consent, employee))
    except psycopg.Error as error:
        if error.sqlstate != "VC003":
            raise
        return False
    return True


def broken(given: Fixture) -> list[Row]:
    return given.truth("select broken from voice_clone.check_consents(null, 1000)")["broken"]


def test_the_ledger_says_who_signed_how_and_for_whom(given: Fixture, acme: Acme) -> None:
    token = given.invitation(acme.employee, acme.admin)
    shown = given.one("select * from voice_clone.read_invitation(%s, %s, 'de')", acme.employee, token)
    assert (shown["full_name"], shown["organization"], shown["locale"]) == ("Bo Lind", "O", "de")
    assert shown["signed_at"] is None
    entry = given.sign(acme.employee, token)
    assert (entry["user_id"], entry["method"]) == (None, "invitation")
    assert (entry["subject_kind"], entry["subject_id"], entry["org_id"]) == (
        "employee",
        acme.employee,
        acme.id,
    )
    assert covers(given, entry["id"], acme.employee)
    assert given.one("select * from voice_clone.read_invitation(%s, %s, 'en')", acme.employee, token)[
        "signed_at"
    ]
    assert broken(given) == []


def test_a_link_signs_once_and_of_one_employee_and_in_time(given: Fixture, acme: Acme) -> None:
    used, other = given.invitation(acme.employee, acme.admin), Acme(given)
    given.sign(acme.employee, used)
    expired = given.invitation(other.employee, other.admin, seconds=-1)
    cases = [
        (acme.employee, used),
        (other.employee, expired),
        (acme.employee, given.invitation(given.employee(acme.id), acme.admin)),
        (acme.employee, sha256(b"guess").digest()),
    ]
    assert {refused(given, SIGN, employee, token, None) for employee, token in cases} == {INVALID}
    replaced = given.invitation(acme.employee, acme.admin)
    newer = given.invitation(acme.employee, acme.admin)
    assert refused(given, SIGN, acme.employee, replaced, None) == INVALID
    given.sign(acme.employee, newer)


def test_a_link_that_is_signed_twice_at_once_signs_once(given: Fixture, acme: Acme) -> None:
    token = given.invitation(acme.employee, acme.admin)

    def sign(_: int) -> str | None:
        with psycopg.connect(given.database.service, autocommit=True) as connection:
            try:
                connection.execute(SIGN, (acme.employee, token, None))
            except psycopg.Error as error:
                return error.sqlstate
        return None

    with ThreadPoolExecutor(4) as threads:
        assert sorted(map(str, threads.map(sign, range(4)))) == ["None", "VC004", "VC004", "VC004"]
    count = given.truth("select count(*) from public.voice_consents where subject_id = %s", acme.employee)
    assert count["count"] == 1
    assert broken(given) == []


def test_only_an_admin_invites(given: Fixture, acme: Acme) -> None:
    invite = "select * from voice_clone.invite_employee(%s, %s, %s, 60)"
    stranger = Acme(given).admin
    assert refused(given, invite, acme.employee, acme.member, uuid4().bytes * 2)[0] == "VC009"
    assert refused(given, invite, acme.employee, stranger, uuid4().bytes * 2)[0] == "VC004"


def test_a_user_signs_as_themself_only(given: Fixture) -> None:
    employee = given.user()
    acme = Acme(given, f"{employee}@EXAMPLE.org")
    token = given.invitation(acme.employee, acme.admin)
    assert refused(given, SIGN, acme.employee, token, employee)[0] == "VC009"  # the address is not confirmed
    given.superuser.execute("update auth.users set email_confirmed_at = now()")
    assert refused(given, SIGN, acme.employee, token, acme.admin) == ("VC009", '{"code": "not_the_employee"}')
    entry = given.sign(acme.employee, token, employee)
    assert (entry["user_id"], entry["method"]) == (employee, "account")
    assert covers(given, entry["id"], acme.employee)
    # It is no consent for the user's own voices.
    assert not given.truth(
        "select voice_clone.is_consent_valid(%s, %s, %s) as is", entry["id"], employee, acme.employee
    )["is"]
    given.one("select * from voice_clone.revoke_consent(%s, %s)", entry["id"], employee)
    assert not covers(given, entry["id"], acme.employee)
    assert broken(given) == []


def test_the_same_link_revokes_however_often_and_however_late(given: Fixture, acme: Acme) -> None:
    token = given.invitation(acme.employee, acme.admin)
    assert refused(given, REVOKE, acme.employee, token) == INVALID  # nothing was signed with it
    consent = given.sign(acme.employee, token)["id"]
    given.superuser.execute(
        "update voice_clone.consent_invitations set expires_at = now() - interval '1 year'"
    )
    first = given.one(REVOKE, acme.employee, token)
    assert (first["revokes"], first["method"]) == (consent, "invitation")
    assert given.one(REVOKE, acme.employee, token) == first
    assert not covers(given, consent, acme.employee)
    again = given.employee_consent(acme.employee, acme.admin)
    assert covers(given, again, acme.employee)
    assert broken(given) == []


def test_a_link_revokes_what_was_signed_as_a_user_in_the_same_chain(given: Fixture, acme: Acme) -> None:
    token = given.invitation(acme.employee, acme.admin)
    signed = given.sign(acme.employee, token, given.user())
    revoked = given.one(REVOKE, acme.employee, token)
    assert revoked["person_id"] == signed["person_id"]
    assert broken(given) == []


def test_a_consent_is_for_one_organization_and_one_employee(given: Fixture, acme: Acme) -> None:
    consent = given.employee_consent(acme.employee, acme.admin)
    assert not covers(given, consent, given.employee(acme.id))
    own = given.consent(acme.admin)
    assert not covers(given, own, acme.employee)
    given.superuser.execute(
        "update public.employees set org_id = %s where id = %s", (Acme(given).id, acme.employee)
    )
    assert not covers(given, consent, acme.employee)


def test_a_consent_ends_with_the_account_that_signed_it(given: Fixture, acme: Acme) -> None:
    signer = given.user()
    consent = given.employee_consent(acme.employee, acme.admin, signer)
    given.superuser.execute("delete from auth.users where id = %s", (signer,))
    assert not covers(given, consent, acme.employee)
    assert broken(given) == []


def test_a_deleted_employee_leaves_the_ledger_whole(given: Fixture, acme: Acme) -> None:
    given.employee_consent(acme.employee, acme.admin)
    given.superuser.execute("delete from public.employees where id = %s", (acme.employee,))
    assert broken(given) == []
    assert given.truth("select count(*) from voice_clone.consent_invitations")["count"] == 0


def test_a_user_does_not_sign_the_text_of_the_employees(given: Fixture) -> None:
    sign = "select * from voice_clone.sign_consent(%s, 'employee_voice_clone', 'en', 'self', null, 1)"
    assert refused(given, sign, given.user())[0] == "VC006"


def check_the_bounds_of_a_consent(given: Fixture) -> None:
    for check in (
        test_a_consent_is_for_one_organization_and_one_employee,
        test_a_consent_ends_with_the_account_that_signed_it,
        test_the_same_link_revokes_however_often_and_however_late,
    ):
        check(given, Acme(given))


# Each makes a consent cover what it must not.
MUTANTS = [
    ("employee_consents", "and e.org_id = c.org_id", ""),
    ("employee_consents", "and c.subject_id = p_employee", ""),
    ("employee_consents", "and (c.user_id is not null or c.method = 'invitation')", ""),
    ("employee_consents", "and not exists (select from public.voice_consents r where r.revokes = c.id)", ""),
]


@pytest.mark.parametrize(("function", "old", "new"), MUTANTS)
def test_a_consent_that_covers_too_much_is_found(
    given: Fixture, acme: Acme, function: str, old: str, new: str
) -> None:
    given.replace(f"voice_clone.{function}", old, new)
    with pytest.raises(AssertionError):
        check_the_bounds_of_a_consent(given)


def test_an_entry_of_the_ledger_never_changes(given: Fixture, acme: Acme) -> None:
    consent = given.employee_consent(acme.employee, acme.admin)
    for change in ("method = 'account'", "org_id = gen_random_uuid()"):
        with pytest.raises(errors.InsufficientPrivilege):
            given.superuser.execute(
                f"update public.voice_consents set {change} where id = %s".encode(),  # noqa: S608
                (consent,),
            )
