"""The file of an employee: which version is wanted, who writes it, and what becomes of a late writer."""

from typing import Any, LiteralString
from uuid import UUID

import pytest

from tests.database.test_employee_consents import REVOKE, Acme
from tests.database.test_employee_voices import Staffed
from tests.fixture import Fixture, Row

CLAIM: LiteralString = """
select c.*, to_jsonb(w) as work from voice_clone.claim_employee_file(%s) c
left join lateral voice_clone.claimed_employee_file(%s) w on c.outcome = 'claimed'
"""
CONFIRM: LiteralString = "select voice_clone.confirm_employee_file(%s, %s, %s, null) as result"
RELEASE: LiteralString = "select voice_clone.release_employee_file(%s, %s, 'storage_unavailable', %s)"
SWEEP: LiteralString = "select * from voice_clone.sweep(100)"


class Files:
    """What workers do to the file of one employee, and the object as they leave it."""

    def __init__(self, given: Fixture, employee: UUID) -> None:
        self.given, self.employee = given, employee
        self.object: dict[str, Any] | None = None

    @property
    def row(self) -> Row | None:
        return self.given.superuser.execute(
            "select * from voice_clone.employee_files where employee_id = %s", (self.employee,)
        ).fetchone()

    @property
    def messages(self) -> int:
        found = self.given.superuser.execute("select message ->> 'id' as id from pgmq.q_employee_files")
        return [row["id"] for row in found].count(str(self.employee))

    def claim(self) -> Row:
        return self.given.one(CLAIM, self.employee, self.employee)

    def put(self, claim: Row) -> None:
        """The request to Storage."""
        self.object = claim["work"]["content"]

    def confirm(self, claim: Row) -> str:
        return self.given.one(CONFIRM, self.employee, claim["lease_epoch"], claim["work"]["version"])[
            "result"
        ]

    def write(self) -> dict[str, Any] | None:
        """A worker's whole step, until nothing more is wanted. The object."""
        while (claim := self.claim())["outcome"] == "claimed":
            self.put(claim)
            self.confirm(claim)
        return self.object

    def pass_time(self, interval: str = "3 minutes") -> None:
        self.given.superuser.execute(
            "update voice_clone.employee_files set lease_expires_at = lease_expires_at - %(by)s::interval,"
            " again_at = again_at - %(by)s::interval, sweep_at = sweep_at - %(by)s::interval",
            {"by": interval},
        )

    def lose_messages(self) -> None:
        self.given.superuser.execute("select pgmq.purge_queue('employee_files')")

    def sweep(self) -> int:
        """How many messages it sent."""
        before = self.messages
        self.given.service.execute(SWEEP)
        return self.messages - before


@pytest.fixture
def acme(given: Fixture) -> Staffed:
    return Staffed(given)


@pytest.fixture
def files(given: Fixture, acme: Staffed) -> Files:
    return Files(given, acme.employee)


def ready(given: Fixture, acme: Staffed) -> UUID:
    attempt = acme.queued()
    given.enroll(attempt)
    return attempt


def test_the_file_names_the_voice_that_is_ready(given: Fixture, acme: Staffed, files: Files) -> None:
    attempt = acme.queued()
    assert (files.row, files.messages) == (None, 0)
    given.enroll(attempt)
    assert files.messages == 1
    content, row = files.write(), given.attempt(attempt)
    assert content is not None
    assert content == {
        "voice_id": row["provider_voice_id"],
        "provider": "local",
        "target_model": "model-1",
        "created_at": content["created_at"],
        "attempt_id": str(attempt),
        "consent_id": str(acme.consent),
        "organization_id": str(acme.id),
        "version": 1,
    }
    assert content["voice_id"] == acme.row()["voice_id"]
    assert files.row
    assert (files.row["written"], files.row["wanted"], files.row["sweep_at"]) == (1, 1, None)


def test_a_change_that_the_file_does_not_show_wants_no_version(acme: Staffed, files: Files) -> None:
    acme.launchable()
    assert files.messages == 1


def end(given: Fixture, acme: Staffed, name: str) -> None:
    if name == "revoked":
        given.one(REVOKE, acme.employee, acme.token)
    elif name == "voice deleted":
        given.one("select voice_clone.delete_employee_voice(%s, %s)", acme.employee, acme.admin)
    elif name == "left the organization":
        other = Acme(given)
        update = "update public.employees set org_id = %s where id = %s"
        given.superuser.execute(update, (other.id, acme.employee))
    elif name == "superseded":
        acme.queued()
    elif name == "employee deleted":
        given.superuser.execute("delete from public.employees where id = %s", (acme.employee,))
    else:
        given.superuser.execute("delete from public.organizations where id = %s", (acme.id,))


ENDS = [
    "revoked", "voice deleted", "left the organization", "superseded", "employee deleted",
    "organization deleted",
]  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_the_file_goes_with_the_voice(given: Fixture, acme: Staffed, files: Files, name: str) -> None:
    ready(given, acme)
    assert files.write()
    files.lose_messages()
    end(given, acme, name)
    assert files.messages > 0
    assert files.write() is None
    assert (files.row is None) == name.endswith("deleted") or name == "voice deleted"


def test_the_row_of_a_file_that_was_gone_before_goes_with_the_employee(
    given: Fixture, acme: Staffed, files: Files
) -> None:
    ready(given, acme)
    end(given, acme, "revoked")
    files.write()
    assert files.row
    end(given, acme, "employee deleted")
    files.write()
    assert files.row is None


def test_a_change_while_a_worker_writes_is_written_after_it(
    given: Fixture, acme: Staffed, files: Files
) -> None:
    ready(given, acme)
    first = files.claim()
    files.put(first)
    end(given, acme, "revoked")
    assert files.claim()["outcome"] == "busy"
    files.lose_messages()
    assert files.confirm(first) == "written"
    assert files.messages == 1
    assert files.write() is None


def test_what_a_late_worker_wrote_is_written_again(given: Fixture, acme: Staffed, files: Files) -> None:
    ready(given, acme)
    late = files.claim()
    end(given, acme, "revoked")
    files.pass_time()
    assert files.write() is None
    files.lose_messages()
    files.put(late)
    assert files.object, "the older version replaced the newer one"
    assert files.confirm(late) == "late"
    assert files.messages == 1
    assert files.write() is None


def test_what_a_late_worker_wrote_after_the_employee_was_deleted_is_removed(
    given: Fixture, acme: Staffed, files: Files
) -> None:
    ready(given, acme)
    late = files.claim()
    end(given, acme, "employee deleted")
    files.pass_time()
    files.write()
    files.pass_time("4 hours")
    files.sweep()
    files.write()
    assert files.row is None
    files.put(late)
    files.confirm(late)
    assert files.write() is None
    assert files.row is None


def test_the_file_is_written_again_once_a_lost_worker_can_write_no_more(
    given: Fixture, acme: Staffed, files: Files
) -> None:
    ready(given, acme)
    lost = files.claim()
    end(given, acme, "revoked")
    files.pass_time()
    assert files.write() is None
    files.put(lost)  # and it dies before it confirms
    files.lose_messages()
    files.pass_time("2 hours")
    assert files.sweep() == 0
    files.pass_time("2 hours")
    assert files.sweep() == 1
    assert files.write() is None
    assert files.row
    assert (files.row["again_at"], files.row["sweep_at"]) == (None, None)


def test_a_request_whose_outcome_is_unknown_is_made_again_at_once_and_later(
    given: Fixture, acme: Staffed, files: Files
) -> None:
    ready(given, acme)
    given.one(RELEASE, acme.employee, files.claim()["lease_epoch"], True)
    assert files.row
    assert files.row["error_code"] == "storage_unavailable"
    assert files.write()
    assert files.row["again_at"]
    given.one(RELEASE, acme.employee, files.row["lease_epoch"], True)
    assert files.row["written"] < files.row["wanted"], "a worker whose lease is over does not know either"


def test_a_lost_message_is_sent_again(given: Fixture, acme: Staffed, files: Files) -> None:
    ready(given, acme)
    files.lose_messages()
    assert files.sweep() == 0
    files.pass_time("6 minutes")
    assert files.sweep() == 1
    assert files.sweep() == 0
    lost = files.claim()
    files.lose_messages()
    assert files.sweep() == 0
    files.pass_time()
    assert files.sweep() == 1
    assert files.claim()["lease_epoch"] == lost["lease_epoch"] + 1


def test_a_message_that_comes_twice_writes_once(given: Fixture, acme: Staffed, files: Files) -> None:
    assert files.claim()["outcome"] == "inactive"
    ready(given, acme)
    assert files.write()
    assert files.claim()["outcome"] == "nothing_to_do"


def test_an_error_in_one_file_stops_no_other(given: Fixture, acme: Staffed, files: Files) -> None:
    other = Staffed(given)
    for each in (acme, other):
        ready(given, each)
    files.lose_messages()
    files.pass_time("6 minutes")
    given.replace(
        "voice_clone.queue_message",
        "return jsonb",
        f"if p_id = '{other.employee}' then raise exception 'no'; end if; return jsonb",
    )
    assert files.sweep() == 1
    errors = given.superuser.execute("select row_id from voice_clone.sweep_errors").fetchall()
    assert errors == [{"row_id": other.employee}]


@pytest.mark.one_postgres
def test_a_late_worker_that_is_not_noticed_is_found(given: Fixture, acme: Staffed, files: Files) -> None:
    noticed = "if f.lease_epoch is distinct from p_epoch or"
    given.replace("voice_clone.confirm_employee_file", noticed, "if false and")
    with pytest.raises(AssertionError):
        test_what_a_late_worker_wrote_is_written_again(given, acme, files)
