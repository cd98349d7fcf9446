"""`likeness install`: the migrations beside those of an application; and processes that read `.env`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.migrations import MIGRATIONS, ROOT, TESTS, MigrationError, push_migrations
from tests.clusters import Database
from tests.scripts.existing_projects import VOICED, application_folder

OURS = sorted(path.name for path in MIGRATIONS.glob("*.sql"))


def run(*arguments: str | Path, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "ENV_FILE"}
    return subprocess.run(
        [sys.executable, "-m", "scripts", *map(str, arguments)],
        cwd=cwd,
        env={**environment, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*")}


def test_the_own_push_of_an_application_takes_our_migrations(project: Database, tmp_path: Path) -> None:
    folder = application_folder(tmp_path, VOICED)
    push_migrations(project.postgres, folder)
    with pytest.raises(MigrationError, match=r"^the project has migrations of its own: .*likeness install"):
        push_migrations(project.postgres)
    done = run("install", folder)
    assert (done.returncode, f"{len(OURS)} migrations added" in done.stdout) == (0, True)
    assert "_existing_tables.sql" in push_migrations(project.postgres, folder)
    assert "up to date" in push_migrations(project.postgres, folder)


def test_a_second_run_adds_only_what_is_new_and_a_dry_run_nothing(tmp_path: Path) -> None:
    folder = application_folder(tmp_path, "select 1")
    migrations = folder / "supabase" / "migrations"
    before = files(migrations)
    assert run("install", folder, "--dry-run").returncode == 0
    assert files(migrations) == before
    assert run("install", folder / "supabase").returncode == 0
    whole = files(migrations)
    assert whole == before | files(MIGRATIONS)
    (migrations / OURS[-1]).unlink()
    done = json.loads(run("install", folder, "--json").stdout)
    assert (done["added"], done["unchanged"], done["different"]) == (OURS[-1:], OURS[:-1], [])
    assert files(migrations) == whole


@pytest.mark.parametrize("name", [OURS[3], OURS[3].partition("_")[0] + "_of_the_application.sql"])
def test_another_text_of_one_version_stops_it_before_anything_is_copied(name: str, tmp_path: Path) -> None:
    folder = application_folder(tmp_path, "select 1")
    migrations = folder / "supabase" / "migrations"
    (migrations / name).write_text("select 2")
    before = files(migrations)
    done = run("install", folder)
    assert (done.returncode, name in done.stdout) == (1, True)
    assert files(migrations) == before


def test_the_tests_for_supabase_test_db_come_too_and_follow_an_upgrade(tmp_path: Path) -> None:
    folder = application_folder(tmp_path, "select 1")
    theirs = folder / "supabase" / "tests"
    theirs.mkdir()
    (theirs / "access.sql").write_text("select 1")
    ours = files(TESTS)
    assert json.loads(run("install", folder, "--json", "--dry-run").stdout)["tests"] == sorted(ours)
    assert json.loads(run("install", folder, "--json").stdout)["tests"] == sorted(ours)
    assert (files(theirs / TESTS.name), (theirs / "access.sql").read_text()) == (ours, "select 1")
    (theirs / TESTS.name / "access.sql").write_text("of an earlier release")
    assert json.loads(run("install", folder, "--json").stdout)["tests"] == ["access.sql"]
    assert files(theirs / TESTS.name) == ours


def test_what_is_no_project_is_refused_and_the_sql_alone_is_printed(tmp_path: Path) -> None:
    done = run("install", tmp_path)
    assert (done.returncode, "supabase init" in done.stderr) == (2, True)
    assert run("install").returncode == 2
    printed = run("install", "--sql").stdout
    assert [printed.index(f"-- {name}\n") for name in OURS] == sorted(
        printed.index((MIGRATIONS / name).read_text()) - len(f"-- {name}\n") for name in OURS
    )


@pytest.mark.parametrize("process", ["serve", "work"])
def test_a_process_reads_the_file_env_and_the_environment_wins(process: str, tmp_path: Path) -> None:
    """What it names in its report of faults shows which of them it read."""
    (tmp_path / ".env").write_text("DATABASE_URL=nonsense\nINTERNAL_TOKEN=\n# a comment\nLOG_LEVEL='loud'\n")
    without = run(process, cwd=tmp_path, ENV_FILE="", DATABASE_URL="", LOG_LEVEL="")
    assert (without.returncode, "loud" in without.stderr) == (1, False)
    read = run(process, cwd=tmp_path)
    assert (read.returncode, "loud" in read.stderr) == (1, True)
    won = run(process, cwd=tmp_path, LOG_LEVEL="noisy")
    assert (won.returncode, "loud" in won.stderr) == (1, False)
    elsewhere = run(process, cwd=tmp_path, ENV_FILE="not-there.env")
    assert (elsewhere.returncode, elsewhere.stderr.strip()) == (1, "ENV_FILE: there is no file not-there.env")
