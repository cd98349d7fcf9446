"""A database that was in use before there were attempts: ready voices get one, to be synced and heard."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from scripts.local.supabase.postgres import SUPERUSER, Cluster
from scripts.migrations import MIGRATIONS
from tests.clusters import SPEED, Database, temporary_directory
from tests.world import Row, World

BRINGING_OVER = "20261121110000"
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
    "without an id": (BOB, {"cloneStatus": "ready", "provider": "qwen", "version": 3}),
    "not ready": (BOB, {"cloneStatus": "processing", "voiceId": "bob-2"}),
    "without a voice": (BOB, {"theme": "dark"}),
}


class After:
    """The world after the migration, with the reflections that were there before."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.reflections: dict[str, UUID] = {}

    def attempts(self, name: str) -> list[Row]:
        return self.world.superuser.execute(
            "select * from public.attempts where reflection_id = %s", (self.reflections[name],)
        ).fetchall()

    def attempt(self, name: str) -> Row:
        (attempt,) = self.attempts(name)
        return attempt

    def voice(self, name: str) -> Row:
        return self.world.voice(self.reflections[name])

    def enrollments(self, name: str) -> list[Row]:
        return self.world.superuser.execute(
            "select * from voice_clone.enrollments where attempt_id = %s", (self.attempt(name)["id"],)
        ).fetchall()

    def gate(self, name: str) -> Row:
        owner = BEFORE[name][0]
        return self.world.one("select * from voice_clone.launch_gate(%s, %s)", self.reflections[name], owner)


def migrate(cluster: Cluster, wanted: Callable[[str], bool]) -> None:
    """As the CLI does: a transaction for each file, in their order."""
    with cluster.connect("postgres") as connection:
        for path in sorted(MIGRATIONS.glob("*.sql")):
            if wanted(path.name):
                connection.execute(path.read_bytes())
                connection.commit()


def insert_before(after: After) -> None:
    superuser = after.world.superuser
    for user in (ADA, BOB):
        superuser.execute("insert into auth.users (id, email) values (%s, %s)", (user, f"{user}@example.org"))
    superuser.execute("set session_replication_role = replica")
    for name, (user, voice) in BEFORE.items():
        row = superuser.execute(
            "insert into public.reflections (user_id, name, voice) values (%s, %s, %s) returning id",
            (user, name, Jsonb(voice)),
        ).fetchone()
        assert row is not None
        after.reflections[name] = row["id"]
    superuser.execute("reset session_replication_role")


@pytest.fixture(scope="module")
def after() -> Iterator[After]:
    """Migrated up to the migration that brings voices over; used; then migrated to the end."""
    with temporary_directory() as directory:
        cluster = Cluster(directory)
        cluster.start(settings=SPEED)
        try:
            migrate(cluster, lambda name: name < BRINGING_OVER)
            cluster.set_passwords()
            dsn = {name: cluster.dsn(role) for name, role in ROLES.items()}
            world = World(Database(cluster=cluster, name="postgres", **dsn))
            made = After(world)
            insert_before(made)
            working = world.launchable(ADA, world.reflection(ADA))
            before = world.attempt(working)
            for queue in ("voice_clone_process", "voice_runtime_sync"):
                world.superuser.execute("select pgmq.purge_queue(%s)", (queue,))
            migrate(cluster, lambda name: name >= BRINGING_OVER)
            assert world.attempt(working) == before, "what was an attempt already stays as it is"
            yield made
            world.close()
        finally:
            cluster.stop(immediately=True)


ROLES = {"superuser": SUPERUSER, "postgres": "postgres", "service": "voice_clone_service"}


@pytest.mark.parametrize(
    "name", ["cloned", "the same voice", "stock of Ada", "stock of Bob", "in other words"]
)
def test_a_ready_voice_gets_an_attempt_and_waits_for_sync_and_preview(after: After, name: str) -> None:
    attempt = after.attempt(name)
    assert (attempt["status"], attempt["source"], attempt["is_active"]) == ("ready", "legacy_outbox", True)
    assert (attempt["runtime_status"], attempt["preview_status"]) == ("pending", "required")
    assert after.gate(name) == {"launchable": False, "blockers": ["runtime_pending", "preview_required"]}
    assert after.world.truth("select * from voice_clone.replay(%s)", attempt["id"]) == attempt


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


def test_only_the_runtime_is_told(after: After) -> None:
    waiting = {each["message"]["id"] for each in after.world.messages("voice_runtime_sync")}
    assert str(after.attempt("cloned")["id"]) in waiting
    assert after.world.messages("voice_clone_process") == []


def test_a_voice_that_was_brought_over_can_be_launched(after: After) -> None:
    world, attempt = after.world, after.attempt("to be launched")["id"]
    reflection = after.reflections["to be launched"]
    world.one(
        "select * from voice_clone.mark_runtime(%s, %s, 'synced', null, null, 0, null)",
        attempt, world.step(attempt, "runtime"),
    )  # fmt: skip
    world.one(
        "select * from voice_clone.mark_preview(%s, %s, 'rendered', 'p.wav', null, null, 0, null)",
        attempt, world.step(attempt, "preview"),
    )  # fmt: skip
    world.one("select * from voice_clone.complete_preview(%s, %s)", reflection, ADA)
    session = world.one("select * from voice_clone.start_session(%s, %s)", reflection, ADA)
    assert session["attempt_id"] == attempt


def test_a_clone_is_its_owners_and_a_stock_voice_is_anyones(after: After) -> None:
    assert len(after.enrollments("cloned")) + len(after.enrollments("the same voice")) == 1
    assert after.enrollments("stock of Ada") == after.enrollments("stock of Bob") == []
    usable = "select is_usable from voice_clone.find_custom_voice(%s, %s, %s, null)"
    assert not after.world.one(usable, BOB, "qwen", "ada-1")["is_usable"]
    assert after.world.one(usable, ADA, "qwen", "ada-1")["is_usable"]
    assert after.world.one(usable, BOB, "elevenlabs", "stock")["is_usable"]


def test_a_voice_that_nobody_can_speak_with_says_none(after: After) -> None:
    attempt, voice = after.attempt("without an id"), after.voice("without an id")
    assert (attempt["status"], attempt["cancel_reason"]) == ("cancelled", "legacy_incomplete")
    assert (voice["cloneStatus"], voice["attemptId"]) == ("none", None)
    assert voice["version"] > 3
    assert after.gate("without an id")["blockers"] == ["no_voice"]


@pytest.mark.parametrize("name", ["not ready", "without a voice"])
def test_what_was_not_ready_is_left_alone(after: After, name: str) -> None:
    assert after.attempts(name) == []
    assert after.voice(name) == BEFORE[name][1]
