"""What the Supabase CLI says of the migrations."""

import asyncio
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from scripts.local.supabase.postgres import Cluster
from scripts.migrations import MIGRATIONS, ROOT, is_migrated, push_migrations, supabase_cli
from tests.clusters import SPEED, Database, temporary_directory

FIRST_AFTER_RELEASE = "20261121010000"
RELEASED_AHEAD = "20261121060100"  # with a number above those of some that came after it


def advise(database: Database) -> subprocess.CompletedProcess[str]:
    command = [supabase_cli(), "db", "advisors", f"--remote={database.postgres}", "--fail-on", "warn"]
    return subprocess.run(
        [*command, "--level", "warn"], cwd=ROOT, text=True, capture_output=True, check=False
    )


def test_each_migration_has_a_version_of_its_own() -> None:
    versions = [path.name.split("_", 1)[0] for path in MIGRATIONS.glob("*.sql")]
    assert [version for version, count in Counter(versions).items() if count > 1] == []


def test_pushing_twice_changes_nothing(database: Database) -> None:
    assert is_migrated(database.postgres)
    assert "up to date" in push_migrations(database.postgres)


def test_a_database_of_an_earlier_release_is_brought_up_to_date(tmp_path: Path) -> None:
    released = tmp_path / "supabase" / "migrations"
    released.mkdir(parents=True)
    shutil.copy(ROOT / "supabase" / "config.toml", tmp_path / "supabase")
    for path in MIGRATIONS.glob("*.sql"):
        if path.name < FIRST_AFTER_RELEASE or path.name.startswith(RELEASED_AHEAD):
            shutil.copy(path, released)
    with temporary_directory() as directory:
        cluster = Cluster(directory)
        cluster.start(settings=SPEED)
        try:
            dsn = cluster.dsn("postgres")
            push_migrations(dsn, tmp_path)
            assert not is_migrated(dsn)
            push_migrations(dsn)
            assert is_migrated(dsn)
        finally:
            cluster.stop(immediately=True)


def test_the_advisors_have_nothing_to_warn_of(database: Database) -> None:
    result = advise(database)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_advisors_would_warn_of_an_open_table(database: Database) -> None:
    with psycopg.connect(database.postgres) as owner:
        owner.execute("create table public.open_to_all (id int primary key)")
    result = advise(database)
    assert result.returncode != 0
    assert "open_to_all" in result.stdout


async def test_migrate_pushes_to_database_url(cluster: Cluster, database: Database) -> None:
    process = await asyncio.create_subprocess_exec(
        "python",
        "-m",
        "scripts",
        "migrate",
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database.postgres},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert b"up to date" in output


@pytest.mark.parametrize("url", ["", "postgresql://postgres:wrong@127.0.0.1:1/postgres"])
async def test_migrate_says_what_is_wrong_with_the_address(url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "python",
        "-m",
        "scripts",
        "migrate",
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode not in {0, None}
    assert b"Traceback" not in output
