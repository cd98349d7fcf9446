"""A user is deleted in Auth: all of theirs ends and is queued for removal; the consents stay as proof."""

import json
from uuid import UUID

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
