"""The voice of an employee: cloned by an admin, mirrored into the row, and gone with the consent."""

from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from tests.database.test_employee_consents import REVOKE, Acme, refused
from tests.fixture import Fixture, Row

ADD: LiteralString = "select * from voice_clone.add_recording(%s, %s, %s, 'en', %s, 'audio/wav', 1000, %s)"
CLONE: LiteralString = "select * from voice_clone.clone_recording(%s, %s, %s, %s, 'local', '', %s, %s)"
VOICE: LiteralString = "select * from voice_clone.employee_voice(%s, %s)"


class Staffed(Acme):
    """Its employee has consented."""

    def __init__(self, given: Fixture) -> None:
        super().__init__(given)
        self.given = given
        self.token = given.invitation(self.employee, self.admin)
        self.consent: UUID = given.sign(self.employee, self.token)["id"]

    def queued(self, per_day: int | None = None) -> UUID:
        attempt = self.given.clone_recording(self.employee, self.admin, per_day)
        row = self.given.attempt(attempt)
        assert (row["status"], row["is_active"], row["source"]) == ("queued", True, "recording")
        return attempt

    def launchable(self) -> UUID:
        attempt, given = self.queued(), self.given
        given.enroll(attempt)
        given.one(
            "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)",
            attempt, given.step(attempt, "runtime"),
        )  # fmt: skip
        given.one(
            "select * from voice_clone.mark_preview(%s, %s, 'rendered', 'p.wav', null, null, 0, null)",
            attempt, given.step(attempt, "preview"),
        )  # fmt: skip
        given.one("select * from voice_clone.complete_employee_preview(%s, %s)", self.employee, self.admin)
        return attempt

    def row(self) -> Row:
        self.given.one("select voice_clone.mirror_reflections(%s)", [self.employee])
        return self.given.truth("select * from public.employees where id = %s", self.employee)


@pytest.fixture
def acme(given: Fixture) -> Staffed:
    return Staffed(given)


def is_gone(given: Fixture, attempt: UUID) -> None:
    """Silent, and on its way out: at the provider and in Storage."""
    row = given.attempt(attempt)
    assert (row["status"], row["is_active"]) == ("cancelled", False)
    voice = given.truth("select * from public.voices where attempt_id = %s", attempt)
    assert voice["deleted_at"]
    assert voice["removal_requested_at"]
    enrollment = given.truth("select * from voice_clone.enrollments where attempt_id = %s", attempt)
    assert enrollment["status"] == "orphaned"
    assert enrollment["removal_due_at"]
    assert (
        given.truth("select status from public.voice_samples where id = %s", row["sample_id"])["status"]
        == "removed"
    )
    buckets = given.superuser.execute("select bucket from voice_clone.object_removals").fetchall()
    assert {each["bucket"] for each in buckets} >= {"voice-samples", "voice-previews", "recordings"}


def test_the_row_of_an_employee_shows_the_voice_that_is_ready(given: Fixture, acme: Staffed) -> None:
    attempt = acme.launchable()
    row = acme.row()
    assert row["voice_id"] == given.attempt(attempt)["provider_voice_id"]
    assert row["voice"]["cloneStatus"] == "ready"
    assert row["voice"]["attemptId"] == str(attempt)
    for reader in (acme.admin, acme.member):
        shown = given.one(VOICE, acme.employee, reader)
        assert (shown["gate"], shown["voice_id"]) == ({"launchable": True, "blockers": []}, row["voice_id"])
        assert shown["consent_id"] == acme.consent
    assert refused(given, VOICE, acme.employee, given.user())[0] == "VC004"
    voice = given.truth("select * from public.voices where attempt_id = %s", attempt)
    assert (voice["user_id"], voice["org_id"], voice["name"]) == (None, acme.id, "Employee voice")


def test_the_consumer_mirrors_employees_with_reflections(given: Fixture, acme: Staffed) -> None:
    acme.queued()
    user = given.user()
    reflection = given.reflection(user)
    given.queued(user, reflection)
    sent = given.superuser.execute("select message ->> 'id' as id from pgmq.q_voice_mirror").fetchall()
    ids = [message["id"] for message in sent]
    assert {str(acme.employee), str(reflection)} <= set(ids)
    left = given.one("select voice_clone.mirror_unlocked_reflections(%s::uuid[]) as ids", ids)["ids"]
    assert left == []
    row = given.truth("select voice, voice_id from public.employees where id = %s", acme.employee)
    assert (row["voice"]["cloneStatus"], row["voice_id"]) == ("queued", None)
    assert given.voice(reflection)["cloneStatus"] == "queued"


def test_a_mirror_that_was_lost_is_sent_again_by_the_sweep(given: Fixture, acme: Staffed) -> None:
    attempt = acme.launchable()
    given.superuser.execute("delete from pgmq.q_voice_mirror")
    given.superuser.execute(
        "update voice_clone.deadlines set sweep_at = now() where attempt_id = %s", (attempt,)
    )
    given.service.execute("select * from voice_clone.sweep(100)")
    assert str(acme.employee) in [m["message"]["id"] for m in given.messages("voice_mirror")]


def test_at_most_one_attempt_of_an_employee_is_active(given: Fixture, acme: Staffed) -> None:
    first = acme.launchable()
    before = acme.row()["voice"]["version"]
    second = acme.queued()
    assert given.attempt(first)["cancel_reason"] == "superseded"
    assert acme.row()["voice"]["version"] > before
    activate = "update public.voice_clone_attempts set is_active = true, status = 'ready' where id = %s"
    with given.superuser.transaction(force_rollback=True):
        given.superuser.execute("alter table public.voice_clone_attempts disable trigger user")
        with pytest.raises(errors.UniqueViolation):
            given.superuser.execute(activate, (first,))
    given.enroll(second)


def test_clones_of_an_employee_at_once_leave_one_active(given: Fixture, acme: Staffed) -> None:
    samples = [given.recording(acme.employee, acme.admin) for _ in range(4)]

    def clone(sample: UUID) -> None:
        with psycopg.connect(given.database.service, autocommit=True) as connection:
            connection.execute(CLONE, (uuid4(), sample, acme.employee, acme.admin, True, None))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(clone, samples))
    active = given.truth("select count(*) from public.voice_clone_attempts where is_active")
    assert active["count"] == 1


def test_nobody_clones_an_employee_without_their_consent(given: Fixture) -> None:
    acme = Acme(given)
    add = (uuid4(), acme.employee, acme.admin, "x/y/sample.wav", None)
    assert refused(given, ADD, *add)[0] == "VC003"
    others = Staffed(given).consent
    own = given.consent(acme.admin)
    for consent in (others, own):
        with pytest.raises(psycopg.Error) as raised:
            given.superuser.execute(
                "insert into public.voice_samples (employee_id, consent_id, path, content_type, bytes)"
                " values (%s, %s, 'x', 'audio/wav', 1)", (acme.employee, consent),
            )  # fmt: skip
        assert raised.value.sqlstate == "VC003"
    # The foreign key holds also where the trigger is off.
    with given.superuser.transaction(force_rollback=True):
        given.superuser.execute("alter table public.voice_samples disable trigger user")
        with pytest.raises(errors.ForeignKeyViolation):
            given.superuser.execute(
                "insert into public.voice_samples (employee_id, consent_id, path, content_type, bytes)"
                " values (%s, %s, 'x', 'audio/wav', 1)", (acme.employee, others),
            )  # fmt: skip


def test_only_an_admin_clones(given: Fixture, acme: Staffed) -> None:
    sample = given.recording(acme.employee, acme.admin)
    for user, state in ((acme.member, "VC009"), (given.user(), "VC004")):
        add = (uuid4(), acme.employee, user, "x/y/sample.wav", None)
        assert refused(given, ADD, *add)[0] == state
        assert refused(given, CLONE, uuid4(), sample, acme.employee, user, True, None)[0] == state
        for move in ("request_employee_preview", "complete_employee_preview", "delete_employee_voice"):
            sql = f"select * from voice_clone.{move}(%s, %s)"  # noqa: S608
            assert refused(given, sql, acme.employee, user)[0] == state
    other = given.employee(acme.id)
    given.employee_consent(other, acme.admin)
    assert refused(given, CLONE, uuid4(), sample, other, acme.admin, True, None)[0] == "VC004"


def test_a_revocation_takes_the_voice_away(given: Fixture, acme: Staffed) -> None:
    attempt = acme.launchable()
    acme.row()
    given.one(REVOKE, acme.employee, acme.token)
    is_gone(given, attempt)
    row = acme.row()
    assert (row["voice_id"], row["voice"]["cloneStatus"]) == (None, "none")
    assert given.one(VOICE, acme.employee, acme.member)["gate"]["blockers"] == ["no_voice"]
    assert refused(given, ADD, uuid4(), acme.employee, acme.admin, "x/y/sample.wav", None)[0] == "VC003"


def test_a_deleted_employee_leaves_no_voice(given: Fixture, acme: Staffed) -> None:
    attempt = acme.launchable()
    given.superuser.execute("delete from public.employees where id = %s", (acme.employee,))
    is_gone(given, attempt)
    assert given.attempt(attempt)["employee_id"] is None


def test_a_deleted_organization_leaves_no_voice(given: Fixture, acme: Staffed) -> None:
    attempt = acme.launchable()
    given.superuser.execute("delete from public.organizations where id = %s", (acme.id,))
    is_gone(given, attempt)


def test_an_employee_who_leaves_the_organization_takes_nothing_along(given: Fixture, acme: Staffed) -> None:
    attempt, other = acme.launchable(), Acme(given)
    acme.row()
    given.superuser.execute(
        "update public.employees set org_id = %s where id = %s", (other.id, acme.employee)
    )
    is_gone(given, attempt)
    row = given.truth("select voice_id, voice from public.employees where id = %s", acme.employee)
    assert (row["voice_id"], row["voice"]["cloneStatus"]) == (None, "none")


def test_the_account_that_signed_takes_the_voice_along(given: Fixture) -> None:
    acme, signer = Staffed(given), given.user()
    given.one(REVOKE, acme.employee, acme.token)
    given.superuser.execute("delete from voice_clone.object_removals")
    given.employee_consent(acme.employee, acme.admin, signer)
    attempt = acme.launchable()
    given.superuser.execute("delete from auth.users where id = %s", (signer,))
    is_gone(given, attempt)


def test_an_admin_deletes_the_voice(given: Fixture, acme: Staffed) -> None:
    attempt = acme.launchable()
    given.one("select voice_clone.delete_employee_voice(%s, %s)", acme.employee, acme.admin)
    is_gone(given, attempt)


def test_the_voice_stays_when_the_admin_who_made_it_goes(given: Fixture, acme: Staffed) -> None:
    attempt = acme.launchable()
    given.superuser.execute("delete from auth.users where id = %s", (acme.admin,))
    assert given.attempt(attempt)["status"] == "ready"


def test_the_caps_are_the_organizations(given: Fixture, acme: Staffed) -> None:
    attempts = [acme.queued()]
    for _ in range(2):
        employee, token = given.employee(acme.id), None
        token = given.invitation(employee, acme.admin)
        given.sign(employee, token)
        acme.employee = employee
        attempts.append(acme.queued())
    claim = "select * from voice_clone.claim_attempt(%s, 'worker', 60, 2, true)"
    assert [given.one(claim, attempt)["outcome"] for attempt in attempts] == [
        "claimed",
        "claimed",
        "user_busy",
    ]
    assert refused(given, ADD, uuid4(), acme.employee, acme.admin, "x/y/sample.wav", 3)[0] == "VC008"
    other = Staffed(given)
    assert given.one(claim, other.queued(per_day=3))["outcome"] == "claimed"


def test_a_worker_that_is_lost_is_replaced(given: Fixture, acme: Staffed) -> None:
    attempt = acme.queued()
    first = given.claim(attempt)
    given.superuser.execute("update voice_clone.deadlines set lease_expires_at = now()")
    second = given.claim(attempt)
    assert (first["outcome"], second["outcome"]) == ("claimed", "claimed")
    assert second["lease_epoch"] > first["lease_epoch"]


def test_the_events_rebuild_the_attempt(given: Fixture, acme: Staffed) -> None:
    attempt = acme.launchable()
    given.one("select voice_clone.delete_employee_voice(%s, %s)", acme.employee, acme.admin)
    assert given.truth("select r.* from voice_clone.replay(%s) r", attempt) == given.attempt(attempt)
