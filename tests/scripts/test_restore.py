"""A backup made under load, restored by the project's owner as the runbook says: the copy works."""

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from scripts.local.supabase.postgres import Cluster
from tests.backend.conftest import served
from tests.backend.storages import failing_storage, saying
from tests.clusters import DEFAULT, SPEED, Database, cloned_database, started_cluster, temporary_directory
from tests.fixture import Fixture
from tests.preloaded import command

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbooks" / "restore-a-backup.md"
NO_BUCKET = b'{"statusCode":"404","error":"Bucket not found","code":"NoSuchBucket"}'


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def original() -> Iterator[Database]:
    with started_cluster(DEFAULT) as cluster, cloned_database(cluster) as database:
        yield database


@contextmanager
def under_load(database: Database) -> Iterator[threading.Event]:
    """Lifecycles one after the other until the block ends; the event says that one is complete."""
    running, stop = threading.Event(), threading.Event()

    def live() -> None:
        with closing(Fixture(database)) as given:
            user = given.user()
            while not stop.is_set():
                reflection = given.reflection(user)
                given.launchable(user, reflection)
                given.mirror(reflection)
                given.queued(user, reflection)
                running.set()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        assert running.wait(60)
        yield running
    finally:
        stop.set()
        thread.join()


def shell(cluster: Cluster, script: str, directory: Path, **environment: str) -> None:
    path = f"{cluster.binaries}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=directory, env={"PATH": path, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def erased_later(original: Database) -> UUID:
    """A user whose voice is in the backup."""
    with closing(Fixture(original)) as given:
        user = given.user()
        given.launchable(user, given.reflection(user))
        return user


@pytest.fixture(scope="module")
def restored(
    original: Database, erased_later: UUID, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A new project, and in it what the runbook makes of the backup."""
    assert erased_later, "is in it"
    directory = tmp_path_factory.mktemp("backup")
    dump, restore = blocks("sh")
    roles, queues, _ = blocks("sql")
    with temporary_directory() as data, under_load(original):
        project = Cluster(data)
        project.start(settings=SPEED)
        shell(original.cluster, dump, directory, OLD=original.postgres)
        with psycopg.connect(project.dsn("postgres"), autocommit=True) as owner:
            owner.execute(roles.encode())
            project.set_passwords()
            shell(project, restore, directory, NEW=project.dsn("postgres"))
            assert len(owner.execute(queues.encode()).fetchall()) > 5
            buckets = owner.execute("select count(*) from storage.buckets where not public").fetchone()
            assert buckets == (8,)
        name = "postgres"
        yield Database(
            project, name, project.dsn(), project.dsn("postgres"), project.dsn("voice_clone_service")
        )
        project.stop(immediately=True)


@pytest.fixture
def copy(restored: Database) -> Iterator[Fixture]:
    with closing(Fixture(restored)) as given:
        yield given


def test_the_copy_has_every_part_and_nothing_belongs_to_a_role_of_ours(copy: Fixture) -> None:
    *_, check = blocks("sql")
    with psycopg.connect(copy.database.postgres) as owner:
        assert owner.execute(check.encode()).fetchall() == []
    owned = copy.superuser.execute(
        "select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname in ('voice_clone', 'operations') and p.proowner <> 'postgres'::regrole"
    )
    assert owned.fetchall() == []


def test_the_copy_is_one_snapshot(copy: Fixture) -> None:
    attempts = copy.superuser.execute("select * from public.voice_clone_attempts").fetchall()
    assert attempts
    for attempt in attempts:
        assert copy.truth("select * from voice_clone.replay(%s)", attempt["id"]) == attempt


def test_who_was_erased_after_the_backup_is_erased_on_the_copy_by_the_ledger(
    original: Database, copy: Fixture, erased_later: UUID, tmp_path: Path
) -> None:
    def erase(url: str, *arguments: str) -> tuple[int, str]:
        done = command("erase", *arguments, env=os.environ | {"DATABASE_URL": url, "COLUMNS": "200"})
        return done.returncode, done.stdout

    assert erase(original.postgres, "user", str(erased_later), "--apply")[0] == 1, "partial: files are left"
    ledger = tmp_path / "ledger.json"
    ledger.write_text(erase(original.postgres, "ledger", "--json")[1])
    theirs = "select count(*) from public.voice_clone_attempts where user_id = %s"
    assert copy.truth(theirs, erased_later)["count"] == 1, "the backup brought it back"
    code, output = erase(copy.database.postgres, "again", str(ledger))
    assert (code, str(erased_later) in output) == (0, True)
    assert erase(copy.database.postgres, "again", str(ledger), "--apply")[0] == 1
    assert copy.truth(theirs, erased_later)["count"] == 0
    assert erase(copy.database.postgres, "again", str(ledger)) == (0, "There again: none.\n")


async def test_the_service_starts_on_the_copy(copy: Fixture, tmp_path: Path) -> None:
    async with (
        failing_storage(saying(400, NO_BUCKET)) as storage,
        served(tmp_path, copy.database.service, storage, DATABASE_TIMEOUT_SECONDS="10") as service,
    ):
        answer = await service.http.get("/health/ready")
    assert answer.json() == {"status": "ok", "database": "ok", "storage": "ok", "consumers": "none"}


def test_lifecycles_on_the_copy_go_all_the_way(copy: Fixture) -> None:
    user = copy.user()
    reflection = copy.reflection(user)
    attempt = copy.launchable(user, reflection)
    assert copy.mirror(reflection)["attemptId"] == str(attempt)
    gate = "select launchable from voice_clone.launch_gate(%s, %s)"
    assert copy.one(gate, reflection, user)["launchable"]


def test_mirrors_of_the_original_go_on_and_are_guarded_on_the_copy(copy: Fixture) -> None:
    row = copy.truth("select r.id, r.user_id from public.reflections r where voice ->> 'version' is not null")
    attempt = copy.queued(row["user_id"], row["id"])
    assert copy.mirror(row["id"])["attemptId"] == str(attempt)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        copy.superuser.execute("update public.reflections set voice = '{}' where id = %s", (row["id"],))


def test_the_sweep_sends_again_what_was_awaited_in_the_queues(copy: Fixture) -> None:
    with copy.superuser.transaction():
        copy.superuser.execute("update voice_clone.deadlines set sweep_at = now()")
    done = copy.service.execute("select what, count from voice_clone.sweep(100)").fetchall()
    assert {row["what"] for row in done} <= {"sent", "postponed", "mirrors", "compared"}
    awaited = "select count(*) as count from voice_clone.deadlines"
    assert copy.truth("select count(*) as count from pgmq.q_voice_clone_process")["count"] > 0
    assert copy.truth(awaited)["count"] > 0
