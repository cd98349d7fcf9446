"""The pgTAP tests that come with the migrations, run as `supabase test db` does: by the role postgres."""

import tarfile
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from scripts.migrations import ROOT, TESTS, push_migrations
from tests.clusters import Database
from tests.scripts.existing_projects import PROJECTS, apply

FILES = sorted(TESTS.glob("*.sql"))
PGTAP = ROOT / "node_modules" / "@electric-sql" / "pglite" / "dist" / "pgtap.tar.gz"
VERSION = "share/postgresql/extension/pgtap--1.3.5.sql"


def add_pgtap(database: Database) -> None:
    """The extension is SQL alone, which a dependency of the local Supabase carries."""
    with tarfile.open(PGTAP) as archive:
        member = archive.extractfile(VERSION)
        assert member is not None
        lines = member.read().decode().splitlines()
    script = "\n".join(line for line in lines if not line.startswith("\\"))
    with psycopg.connect(database.superuser) as superuser:
        superuser.execute("set local search_path = extensions")
        superuser.execute(script.encode())


def tap(database: Database, file: Path) -> list[str]:
    """What the file prints: a line for each assertion, and more where one fails."""
    with psycopg.connect(database.postgres, autocommit=True) as owner:
        cursor = owner.execute(file.read_text().encode())
        printed: list[str] = []
        while True:
            if cursor.description and len(cursor.description) == 1:
                printed += [str(row[0]) for row in cursor.fetchall()]
            if not cursor.nextset():
                return [line for line in printed if line.startswith(("ok", "not ok", "#", "1.."))]


def failures(printed: list[str]) -> list[str]:
    count = int(printed[0].removeprefix("1.."))
    assert sum(line.startswith(("ok", "not ok")) for line in printed) == count
    return [line for line in printed[1:] if not line.startswith("ok")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_they_pass_on_a_project_of_our_own(database: Database, file: Path) -> None:
    add_pgtap(database)
    assert failures(tap(database, file)) == []


# What somebody may change in a project, and the assertion that says so.
FAULTS: dict[str, tuple[LiteralString, str]] = {
    "access": ("grant update on public.voices to authenticated", "no client has a right to write"),
    "access ": ("alter table public.voices disable row level security", "each table has row level security"),
    "access  ": ("update storage.buckets set public = true", "no bucket of the service is public"),
    "lifecycle": (
        """create policy "All" on public.voice_clone_attempts for select to authenticated using (true)""",
        "another user sees no attempt of it",
    ),
    "lifecycle ": (
        "alter table public.voice_clone_attempts disable trigger user",
        "no attempt becomes ready without its steps, whoever writes",
    ),
}


@pytest.mark.parametrize(("name", "fault"), FAULTS.items(), ids=[expected for _, expected in FAULTS.values()])
def test_they_fail_where_a_guard_is_gone(
    database: Database, name: str, fault: tuple[LiteralString, str]
) -> None:
    add_pgtap(database)
    sql, expected = fault
    with psycopg.connect(database.superuser) as superuser:
        superuser.execute(sql)
    (file,) = [each for each in FILES if each.stem == name.strip()]
    assert f"- {expected}" in "\n".join(failures(tap(database, file)))


@pytest.mark.long  # test_existing_project runs them beside a table of reflections
@pytest.mark.parametrize("name", ["full", "closed"])
def test_they_pass_beside_the_tables_of_an_application(project: Database, name: str) -> None:
    apply(project, PROJECTS[name])
    push_migrations(project.postgres)
    add_pgtap(project)
    for file in FILES:
        assert failures(tap(project, file)) == [], file
