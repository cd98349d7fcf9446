"""The import of an earlier system's voices: a ready one gets an attempt that must be synced and previewed."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from scripts.local.supabase.postgres import Cluster
from tests.clusters import Database, cloned_database
from tests.fixture import Fixture, Row
from tests.preloaded import command

ADA, BOB = uuid4(), uuid4()
MODEL = "qwen3-tts-vc-2026-01-22"
READY: dict[str, Any] = {"cloneStatus": "ready", "provider": "qwen", "voiceId": "ada-1", "targetModel": MODEL}
# Whose reflection, and its voice as an older application left it.
BEFORE: dict[str, tuple[UUID, dict[str, Any]]] = {
    "cloned": (ADA, {**READY, "version": 7, "theme": "dark", "language": "de"}),
    "to be launched": (ADA, {**READY, "voiceId": "ada-2"}),
    "the same voice": (ADA, READY | {"version": "v2"}),
    "stock of Ada": (ADA, READY | {"voiceId": "stock", "provider": "elevenlabs"}),
    "stock of Bob": (BOB, READY | {"voiceId": "stock", "provider": "elevenlabs"}),
    "in other words": (BOB, {"cloneStatus": "ready", "provider_voice_id": "bob-1", "target_model": MODEL}),
    "of a model alone": (BOB, {"cloneStatus": "ready", "voiceId": "bob-3", "model": "sonic-2"}),
    "of a provider alone": (BOB, {"cloneStatus": "ready", "voiceId": "bob-4", "provider": "cartesia"}),
    "without an id": (BOB, {"cloneStatus": "ready", "provider": "qwen", "version": 3}),
    "not ready": (BOB, {"cloneStatus": "processing", "voiceId": "bob-2"}),
    "without a voice": (BOB, {"theme": "dark"}),
}


CARTESIA = ("of a model alone", "of a provider alone")


class After:
    """A fixture with the reflections of an earlier system."""

    def __init__(self, given: Fixture) -> None:
        self.given = given
        self.reflections: dict[str, UUID] = {}

    def attempts(self, name: str) -> list[Row]:
        return self.given.superuser.execute(
            "select * from public.voice_clone_attempts where reflection_id = %s", (self.reflections[name],)
        ).fetchall()

    def attempt(self, name: str) -> Row:
        (attempt,) = self.attempts(name)
        return attempt

    def voice(self, name: str) -> Row:
        return self.given.voice(self.reflections[name])

    def enrollments(self, name: str) -> list[Row]:
        return self.given.superuser.execute(
            "select * from voice_clone.enrollments where attempt_id = %s", (self.attempt(name)["id"],)
        ).fetchall()

    def gate(self, name: str) -> Row:
        owner = BEFORE[name][0]
        return self.given.one("select * from voice_clone.launch_gate(%s, %s)", self.reflections[name], owner)


def insert_before(after: After) -> None:
    superuser = after.given.superuser
    for user in (ADA, BOB):
        superuser.execute("insert into auth.users (id, email) values (%s, %s)", (user, f"{user}@example.org"))
    with superuser.transaction():
        superuser.execute("set local session_replication_role = replica")
        for name, (user, voice) in BEFORE.items():
            row = superuser.execute(
                "insert into public.reflections (user_id, name, voice) values (%s, %s, %s) returning id",
                (user, name, Jsonb(voice)),
            ).fetchone()
            assert row is not None
            after.reflections[name] = row["id"]


def import_legacy_voices(database: Database, *arguments: str) -> tuple[int, list[Row]]:
    """The operator's command: its exit code and output."""
    env = os.environ | {"DATABASE_URL": database.postgres}
    done = command("import-legacy-voices", "--json", *arguments, env=env)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def before(given: Fixture) -> After:
    """Used by an earlier system, and by this one; nothing is imported yet."""
    made = After(given)
    insert_before(made)
    return made


@pytest.fixture(scope="module")
def after(cluster: Cluster) -> Iterator[After]:
    """Used by an earlier system, and by this one; then imported."""
    with cloned_database(cluster) as database, closing(Fixture(database)) as given:
        made = After(given)
        insert_before(made)
        working = given.launchable(ADA, given.reflection(ADA))
        untouched = given.attempt(working)
        for queue in ("voice_clone_process", "voice_runtime_sync"):
            given.superuser.execute("select pgmq.purge_queue(%s)", (queue,))
        assert import_legacy_voices(database, "--apply")[0] == 0
        assert given.attempt(working) == untouched, "what was an attempt already stays as it is"
        yield made


@pytest.mark.parametrize(
    "name", ["cloned", "the same voice", "stock of Ada", "stock of Bob", "in other words"]
)
def test_a_ready_voice_gets_an_attempt_and_waits_for_sync_and_preview(after: After, name: str) -> None:
    attempt = after.attempt(name)
    assert (attempt["status"], attempt["source"], attempt["is_active"]) == ("ready", "legacy_outbox", True)
    assert (attempt["runtime_status"], attempt["preview_status"]) == ("pending", "required")
    assert after.gate(name) == {"launchable": False, "blockers": ["runtime_pending", "preview_required"]}
    assert after.given.truth("select * from voice_clone.replay(%s)", attempt["id"]) == attempt


def test_what_is_known_of_a_voice_is_kept(after: After) -> None:
    attempt, voice = after.attempt("cloned"), after.voice("cloned")
    known = (attempt["provider"], attempt["provider_voice_id"], attempt["target_model"], attempt["language"])
    assert known == ("qwen", "ada-1", MODEL, "de")
    assert (voice["attemptId"], voice["voiceId"]) == (str(attempt["id"]), str(attempt["voice_id"]))
    assert (voice["cloneStatus"], voice["runtimeStatus"], voice["previewRequired"]) == (
        "ready",
        "pending",
        True,
    )
    assert voice["version"] > 7, "what clients have seen is never newer"
    assert voice["theme"] == "dark"
    other = after.attempt("in other words")
    assert (other["provider"], other["provider_voice_id"]) == ("qwen", "bob-1")


def test_each_provider_is_known_by_its_models_and_a_clone_has_the_kind_of_its_provider(after: After) -> None:
    places = [(each["provider"], each["target_model"]) for each in map(after.attempt, CARTESIA)]
    assert places == [("cartesia", "sonic-2"), ("cartesia", "sonic-3.5")]
    kinds = {
        name: after.given.truth(
            "select provider_voice_kind from public.voices where attempt_id = %s", after.attempt(name)["id"]
        )["provider_voice_kind"]
        for name in (*CARTESIA, "in other words", "stock of Bob")
    }
    assert kinds == dict.fromkeys(CARTESIA, "instant") | {"in other words": "vc", "stock of Bob": "custom"}


def test_only_the_runtime_is_told(after: After) -> None:
    waiting = {each["message"]["id"] for each in after.given.messages("voice_runtime_sync")}
    assert str(after.attempt("cloned")["id"]) in waiting
    assert after.given.messages("voice_clone_process") == []


def test_an_imported_voice_can_be_launched(after: After) -> None:
    given, attempt = after.given, after.attempt("to be launched")["id"]
    reflection = after.reflections["to be launched"]
    given.one(
        "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)",
        attempt, given.step(attempt, "runtime"),
    )  # fmt: skip
    given.one(
        "select * from voice_clone.mark_preview(%s, %s, 'rendered', 'p.wav', null, null, 0, null)",
        attempt, given.step(attempt, "preview"),
    )  # fmt: skip
    given.one("select * from voice_clone.complete_preview(%s, %s)", reflection, ADA)
    session = given.one("select * from voice_clone.start_session(%s, %s)", reflection, ADA)
    assert session["attempt_id"] == attempt


def test_a_clone_is_its_owners_and_a_stock_voice_is_anyones(after: After) -> None:
    assert len(after.enrollments("cloned")) + len(after.enrollments("the same voice")) == 1
    assert after.enrollments("stock of Ada") == after.enrollments("stock of Bob") == []
    usable = "select is_usable from voice_clone.find_custom_voice(%s, %s, %s, null)"
    assert not after.given.one(usable, BOB, "qwen", "ada-1")["is_usable"]
    assert after.given.one(usable, ADA, "qwen", "ada-1")["is_usable"]
    assert after.given.one(usable, BOB, "elevenlabs", "stock")["is_usable"]


def test_an_incomplete_legacy_voice_is_mirrored_as_none(after: After) -> None:
    attempt, voice = after.attempt("without an id"), after.voice("without an id")
    assert (attempt["status"], attempt["cancel_reason"]) == ("cancelled", "legacy_incomplete")
    assert (voice["cloneStatus"], voice["attemptId"]) == ("none", None)
    assert voice["version"] > 3
    assert after.gate("without an id")["blockers"] == ["no_voice"]


@pytest.mark.parametrize("name", ["not ready", "without a voice"])
def test_what_was_not_ready_is_left_alone(after: After, name: str) -> None:
    assert after.attempts(name) == []
    assert after.voice(name) == BEFORE[name][1]


def counts(given: Fixture) -> Row:
    return given.truth(
        "select (select count(*) from public.voice_clone_attempts) as attempts,"
        " (select count(*) from public.voices) as voices,"
        " (select count(*) from voice_clone.enrollments) as enrollments,"
        " (select md5(string_agg(r.voice::text, '' order by r.id)) from public.reflections r) as mirrors"
    )


def test_without_apply_the_command_lists_and_changes_nothing(before: After) -> None:
    untouched = counts(before.given)
    code, rows = import_legacy_voices(before.given.database)
    assert code == 0
    outcomes = {UUID(row["reflection_id"]): row["outcome"] for row in rows}
    expected = {name for name, (_, voice) in BEFORE.items() if voice.get("cloneStatus") == "ready"}
    assert outcomes == {
        before.reflections[name]: "incomplete" if name == "without an id" else "ready" for name in expected
    }
    assert counts(before.given) == untouched


def test_importing_twice_changes_nothing_the_second_time(after: After) -> None:
    imported = counts(after.given)
    assert import_legacy_voices(after.given.database, "--apply") == (0, [])
    assert counts(after.given) == imported


def test_a_stock_voice_stays_one_when_the_import_is_interrupted_between_its_users(before: After) -> None:
    given, pages = before.given, 0
    after: UUID | None = None
    while rows := given.superuser.execute(
        "select * from operations.import_legacy_voices(%s, 1)", (after,)
    ).fetchall():
        (row,) = rows
        assert row["error"] is None
        after, pages = row["reflection_id"], pages + 1
    assert pages == 9
    assert before.enrollments("stock of Ada") == before.enrollments("stock of Bob") == []
    assert len(before.enrollments("cloned")) + len(before.enrollments("the same voice")) == 1


def test_a_voice_that_cannot_be_imported_is_reported_and_stops_no_other(before: After) -> None:
    given = before.given
    given.superuser.execute(
        "alter table public.voices add constraint never check (provider_voice_id <> 'ada-2') not valid"
    )
    code, rows = import_legacy_voices(given.database, "--apply")
    failed = {row["reflection_id"]: row["error"] for row in rows if row.get("error")}
    assert (code, list(failed)) == (1, [str(before.reflections["to be launched"])])
    assert "never" in failed[str(before.reflections["to be launched"])]
    assert before.attempts("to be launched") == []
    assert before.attempt("cloned")["status"] == "ready"
    given.superuser.execute("alter table public.voices drop constraint never")
    code, rows = import_legacy_voices(given.database, "--apply")
    assert (code, [row["outcome"] for row in rows]) == (0, ["ready"])
    assert before.attempt("to be launched")["status"] == "ready"


def test_an_imported_voice_needs_no_free_slot(before: After) -> None:
    given = before.given
    for provider in ("qwen", "elevenlabs"):
        given.superuser.execute("select voice_clone.set_slots(%s, '', 0)", (provider,))
    given.superuser.execute(
        "delete from public.reflections where id = %s", (before.reflections["without an id"],)
    )
    code, rows = import_legacy_voices(given.database, "--apply")
    assert (code, {row["outcome"] for row in rows}) == (0, {"ready"})


def test_the_command_shows_a_table_and_how_to_apply_it(before: After) -> None:
    env = os.environ | {"DATABASE_URL": before.given.database.postgres, "COLUMNS": "200"}
    done = command("import-legacy-voices", env=env)
    assert done.returncode == 0, done.stderr
    assert "stock" in done.stdout
    assert "Add --apply" in done.stdout
