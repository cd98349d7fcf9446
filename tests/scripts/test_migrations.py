"""The migrations, applied and checked by the Supabase CLI."""

import asyncio
import os
import re
from collections import Counter

import psycopg
import pytest

from scripts.local.supabase.postgres import Cluster
from scripts.migrations import MIGRATIONS, ROOT, is_migrated, push_migrations
from tests.clusters import Database
from tests.scripts.advisors import advise


def test_each_migration_has_a_version_of_its_own() -> None:
    versions = [path.name.split("_", 1)[0] for path in MIGRATIONS.glob("*.sql")]
    assert [version for version, count in Counter(versions).items() if count > 1] == []


def test_each_function_and_each_table_is_defined_once() -> None:
    text = "\n".join(path.read_text() for path in MIGRATIONS.glob("*.sql"))
    found = re.findall(r"^create (?:or replace )?(function [\w.]+|table [\w.]+)", text, re.MULTILINE)
    assert [name for name, count in Counter(found).items() if count > 1] == []
    # `if not exists` adopts an existing table; of our own tables no column comes later
    assert not re.search(
        r"^\s*(alter table \S+\s+(add|drop) column (?!if not exists)|drop )", text, re.MULTILINE
    )


def test_each_migration_says_what_it_is_for_in_at_most_250_lines() -> None:
    for path in MIGRATIONS.glob("*.sql"):
        lines = path.read_text().splitlines()
        assert lines[0].startswith("-- "), path.name
        assert len(lines) <= 250, path.name


def test_pushing_twice_changes_nothing(database: Database) -> None:
    assert is_migrated(database.postgres)
    assert "up to date" in push_migrations(database.postgres)


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
