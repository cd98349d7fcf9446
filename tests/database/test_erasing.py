"""A user is deleted in Auth: all of theirs ends and is queued for removal; the consents stay as proof."""

import hashlib
import json
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.database.situations import refused
from tests.fixture import Fixture


def erase(given: Fixture, user: UUID) -> None:
    """As Auth does it, with no right but its own."""
    with given.superuser.transaction():
        given.superuser.execute("set local role supabase_auth_admin")
        given.superuser.execute("delete from auth.users where id = %s", (user,))


def every_row(given: Fixture) -> str:
    """All that the database has of anybody, apart from what is queued for removal."""
    tables = [
        row["name"]
        for row in given.superuser.execute(
            "select format('%I.%I', schemaname, tablename) as name from pg_tables"
            " where schemaname in ('public', 'voice_clone', 'auth', 'pgmq')"
        )
    ]
    rows = [
        given.superuser.execute(b"select to_jsonb(t) as row from " + name.encode() + b" t") for name in tables
    ]
    kept = [
        row["row"]
        for name, found in zip(tables, rows, strict=True)
        for row in found
        if name != "voice_clone.object_removals"
    ]
    return json.dumps(kept)


def broken(given: Fixture) -> list[object]:
    return given.one("select broken from voice_clone.check_consents(null, 100)")["broken"]


def test_the_deletion_of_a_user_ends_and_forgets_everything_of_theirs(given: Fixture) -> None:
    user, other = given.user(), given.user()
    reflection, elsewhere = given.reflection(user), given.reflection(other)
    launched = given.launchable(user, reflection)
    session = given.one("select * from voice_clone.start_session(%s, %s)", reflection, user)
    running = given.queued(user, given.reflection(user))
    late = given.intend(running, given.claim(running)["lease_epoch"])
    given.open(user, None)
    kept = given.launchable(other, elsewhere)
    assert str(user) in every_row(given)
    erase(given, user)
    assert str(user) not in every_row(given)
    assert "hello" not in json.dumps(
        [dict(row, id=None) for row in given.superuser.execute(
            "select s.id::text, s.transcript from public.voice_samples s where s.user_id is null")]
    )  # fmt: skip
    for attempt in (launched, running):
        row = given.attempt(attempt)
        assert (row["user_id"], row["name"], row["status"]) == (None, None, "cancelled")
        assert given.truth("select * from voice_clone.replay(%s)", attempt) == row
    assert given.truth("select * from public.voice_sessions where id = %s", session["id"])["user_id"] is None
    folders = given.superuser.execute("select bucket, folder from voice_clone.object_removals").fetchall()
    assert {(row["bucket"], row["folder"]) for row in folders} >= {
        (bucket, str(user)) for bucket in ("voice-samples", "voice-previews", "speeches")
    }
    made = given.truth("select id from voice_clone.enrollments where attempt_id = %s", launched)["id"]
    begin = "select task from voice_clone.begin_cleanup(%s)"
    assert given.one(begin, made)["task"] == "remove"
    given.one("select voice_clone.report_enrollment(%s, 'late', 'm', false, 'r', null)", late)
    assert given.one(begin, late)["task"] == "remove", "a voice that was on its way"
    gate = "select launchable from voice_clone.launch_gate(%s, %s)"
    assert given.one(gate, elsewhere, other)["launchable"]
    assert given.attempt(kept)["user_id"] == other


def test_the_consents_of_a_deleted_user_are_kept_and_verified(given: Fixture) -> None:
    user = given.user()
    consent = given.consent(user)
    given.one("select * from voice_clone.revoke_consent(%s, %s)", consent, user)
    given.consent(user)
    erase(given, user)
    entries = given.superuser.execute("select * from public.voice_consents order by position").fetchall()
    assert [entry["position"] for entry in entries] == [1, 2, 3]
    assert len({entry["person_id"] for entry in entries}) == 1
    assert all(entry["user_id"] is None for entry in entries)
    assert broken(given) == []


def test_a_user_who_did_nothing_is_deleted(given: Fixture) -> None:
    user = given.user()
    erase(given, user)
    assert given.truth("select count(*) from auth.users where id = %s", user)["count"] == 0


def test_a_call_with_a_token_of_a_deleted_user_leaves_nothing(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    erase(given, user)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        given.consent(user)
    with refused("VC004"):
        given.one("select * from voice_clone.start_session(%s, %s)", reflection, user)


def test_an_entry_cannot_be_changed_in_the_name_of_an_erasure(given: Fixture) -> None:
    given.consent(given.user())
    given.superuser.execute("select set_config('voice_clone.erasing', 'on', false)")
    for change in ("position = 2", "user_id = null, subject_kind = 'reflection'", "user_id = user_id"):
        with refused("42501"):
            given.superuser.execute(b"update public.voice_consents set " + change.encode())
    with refused("42501"):
        given.superuser.execute("delete from public.voice_consents")


def ask(given: Fixture, user: UUID) -> Any:
    """As the user does it, who keeps their account; the receipt."""
    return given.one("select voice_clone.request_erasure(%s) as receipt", user)["receipt"]


def receipt(given: Fixture, user: UUID, erasure: UUID | str) -> Any:
    return given.one("select voice_clone.erasure_of_user(%s, %s) as receipt", erasure, user)["receipt"]


def confirmed(found: Any) -> dict[str, bool]:
    """By place and name."""
    return {f"{each['place']} {each['name']}": each["confirmed_at"] is not None for each in found["places"]}


def remove_voices(given: Fixture) -> None:
    """The provider confirms each removal."""
    for row in given.superuser.execute("select id from voice_clone.enrollments where status = 'orphaned'"):
        task = given.one("select * from voice_clone.begin_cleanup(%s)", row["id"])["task"]
        assert task == "remove"
        given.one("select voice_clone.end_cleanup(%s, 'removed', null, null, null)", row["id"])


def empty_folders(given: Fixture) -> None:
    """Storage has nothing of theirs any more, and no upload that was signed before can come."""
    given.superuser.execute("update voice_clone.object_removals set final_at = now()")
    for row in given.superuser.execute("select id from voice_clone.object_removals"):
        given.one("select voice_clone.end_object_removal(%s, true, null)", row["id"])


def test_a_user_who_keeps_the_account_loses_everything_else_and_begins_anew(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    attempt = given.launchable(user, reflection)
    session = given.one("select * from voice_clone.start_session(%s, %s)", reflection, user)
    given.one("select * from voice_clone.claim_idempotency_key(%s, 'k', '')", user)
    ask(given, user)
    rows = every_row(given)
    assert str(attempt) in rows, "a record without the person"
    given.superuser.execute("delete from public.reflections")
    given.superuser.execute("delete from auth.users")
    rows = every_row(given)
    assert str(user) not in rows
    assert given.attempt(attempt)["reflection_id"] is None
    assert given.truth("select * from voice_clone.replay(%s)", attempt) == given.attempt(attempt)
    kept = given.truth("select * from public.voice_sessions where id = %s", session["id"])
    assert (kept["user_id"], kept["reflection_id"]) == (None, None)


def test_the_account_can_be_used_again_after_an_erasure(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    given.launchable(user, reflection)
    shown = given.mirror(reflection)["version"]
    ask(given, user)
    assert given.voice(reflection)["cloneStatus"] == "none"
    with pytest.raises(psycopg.DatabaseError, match="no earlier voice"):
        given.one("select * from voice_clone.restore_attempt(%s, %s)", reflection, user)
    attempt = given.launchable(user, reflection)
    mirror = given.mirror(reflection)
    assert (mirror["attemptId"], mirror["cloneStatus"]) == (str(attempt), "ready")
    assert mirror["version"] > shown


def test_a_receipt_says_what_is_confirmed_and_is_complete_with_the_last(given: Fixture) -> None:
    user = given.user()
    given.launchable(user, given.reflection(user))
    found = ask(given, user)
    assert found["status"] == "partial"
    assert confirmed(found) == {
        "database rows": True,
        "provider local": False,
        "storage speeches": False,
        "storage voice-previews": False,
        "storage voice-samples": False,
    }
    remove_voices(given)
    found = receipt(given, user, found["erasure_id"])
    assert (found["status"], confirmed(found)["provider local"]) == ("partial", True)
    empty_folders(given)
    given.superuser.execute("update voice_clone.erasures set sweep_at = now()")
    swept = given.service.execute("select what, count from voice_clone.sweep(500)").fetchall()
    assert {"what": "erasures", "count": 1} in swept
    found = receipt(given, user, found["erasure_id"])
    assert (found["status"], found["completed_at"] is not None) == ("complete", True)
    assert all(confirmed(found).values())


def test_a_repeated_request_adds_no_entry_until_something_is_held_again(given: Fixture) -> None:
    user = given.user()
    given.consent(user)
    first = ask(given, user)
    assert ask(given, user)["erasure_id"] == first["erasure_id"]
    given.consent(user)
    assert ask(given, user)["erasure_id"] != first["erasure_id"]
    assert given.truth("select count(*) from voice_clone.erasures")["count"] == 2


def test_nobody_but_the_user_reads_a_receipt(given: Fixture) -> None:
    user, other = given.user(), given.user()
    found = ask(given, user)
    assert receipt(given, other, found["erasure_id"]) is None
    assert receipt(given, user, uuid4()) is None


def test_an_answer_that_is_being_kept_is_confirmed_when_it_is_gone(given: Fixture) -> None:
    user = given.user()
    given.one("select * from voice_clone.claim_idempotency_key(%s, 'k', '')", user)
    with given.superuser.transaction():
        given.superuser.execute("select from voice_clone.idempotency_keys for update")
        found = ask(given, user)
    assert confirmed(found)["answers answers kept for repeated requests"] is False
    given.superuser.execute("delete from voice_clone.idempotency_keys")
    found = receipt(given, user, found["erasure_id"])
    assert confirmed(found)["answers answers kept for repeated requests"] is True


def test_the_ledger_names_nobody_and_finds_who_is_there_again(given: Fixture) -> None:
    user, other = given.user(), given.user()
    given.launchable(user, given.reflection(user))
    ask(given, user)
    (entry,) = given.superuser.execute("select * from operations.erasures()").fetchall()
    assert entry["subject_hash"] == hashlib.sha256(f"user:{user}".encode()).hexdigest()
    assert str(user) not in json.dumps(entry, default=str)
    again = "select * from operations.subjects_of_erasures(%s)"
    hashes = [entry["subject_hash"], "00" * 32]
    assert given.superuser.execute(again, (hashes,)).fetchall() == []
    given.launchable(user, given.reflection(user))  # a backup was restored
    given.launchable(other, given.reflection(other))
    assert given.superuser.execute(again, (hashes,)).fetchall() == [{"kind": "user", "subject": user}]


def test_an_employee_and_a_voice_are_erased(given: Fixture) -> None:
    admin = given.user()
    organization = given.organization(admin)
    employee = given.employee(organization, "grace@example.com")
    given.employee_consent(employee, admin)
    attempt = given.clone_recording(employee, admin)
    given.enroll(attempt)
    erased = "select operations.erase(%s, %s) as receipt"
    found = given.truth(erased, "employee", employee)["receipt"]
    assert confirmed(found)["database rows"]
    assert confirmed(found)["provider local"] is False
    assert "grace@example.com" not in every_row(given)
    user = given.user()
    voice = given.attempt(given.launchable(user, given.reflection(user)))["voice_id"]
    found = given.truth(erased, "voice", voice)["receipt"]
    assert confirmed(found) == {
        "database rows": True,
        "provider local": False,
        "storage voice-previews": False,
    }
    row = given.truth(
        "select name, deleted_at is not null as is_deleted from public.voices where id = %s", voice
    )
    assert (row["name"], row["is_deleted"]) == ("deleted", True)
    with refused("VC006"):
        given.truth(erased, "reflection", user)


def test_an_erasure_that_cannot_be_confirmed_is_postponed_and_stops_no_other(given: Fixture) -> None:
    for _ in range(2):
        ask(given, given.user())
    empty_folders(given)
    first, second = given.superuser.execute(
        "select id from voice_clone.erasures order by requested_at"
    ).fetchall()
    given.superuser.execute("update voice_clone.erasures set sweep_at = now()")
    given.replace(
        "voice_clone.confirm_erasure",
        "if x.completed_at is not null then",
        f"if x.id = '{first['id']}' then raise exception 'no'; elsif x.completed_at is not null then",
    )
    given.one("select * from voice_clone.sweep(500)")
    done = "select completed_at is not null as done from voice_clone.erasures where id = %s"
    assert [given.truth(done, row["id"])["done"] for row in (first, second)] == [False, True]
    assert given.truth("select kind from voice_clone.sweep_errors")["kind"] == "erasure"
