"""Push supabase/migrations with the Supabase CLI itself, as a hosted project would receive them."""

import os
import shutil
import subprocess
from pathlib import Path

import psycopg

from scripts.parent_death import die_with_parent

ROOT = Path(__file__).resolve().parents[1]
INSTALLED_PROJECT = Path(__file__).parent / "project"  # where a wheel has the folder supabase
PROJECT = INSTALLED_PROJECT if INSTALLED_PROJECT.exists() else ROOT
MIGRATIONS = PROJECT / "supabase" / "migrations"
TESTS = PROJECT / "supabase" / "tests" / "voice_clone"  # pgTAP, in a folder of their own
# The CLI pushes only from a folder that has every migration that the database has.
FOREIGN_HISTORY = "Remote migration versions not found in local migrations directory"
QUIET = {"SUPABASE_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1"}


class MigrationError(Exception):
    """The migrations could not be pushed."""


def supabase_cli() -> Path:
    """The CLI's binary, of the checkout or on PATH; the npm wrapper around it would cost a start of node."""
    modules = ROOT / "node_modules"
    for binary in (*modules.glob("@supabase/cli-*/bin/supabase"), modules / ".bin" / "supabase"):
        if binary.exists():
            return binary
    if found := shutil.which("supabase"):
        return Path(found)
    raise MigrationError("the Supabase CLI is not installed: npm install supabase, and add it to PATH")


def push_migrations(dsn: str, project: Path = PROJECT) -> str:
    """Apply what is pending to a database, as its role `postgres`; returns the output of the CLI.

    Each group of migrations counts on by itself, so a new one may come before the last that was applied.
    """
    result = subprocess.run(
        [supabase_cli(), "db", "push", f"--remote={dsn}", "--yes", "--include-all"],
        cwd=project,
        env=os.environ | QUIET,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_parent(),
        check=False,
    )
    if FOREIGN_HISTORY in result.stdout:
        raise MigrationError(
            "the project has migrations of its own: add ours to its folder with `likeness install DIR`,"
            " and push from there with `supabase db push --include-all`"
        )
    if result.returncode:
        raise MigrationError(f"supabase db push failed:\n{result.stdout}")
    return result.stdout


def is_migrated(dsn: str) -> bool:
    """Whether every migration file is recorded already, which costs a query and not a start of the CLI."""
    wanted = {path.name.split("_", 1)[0] for path in MIGRATIONS.glob("*.sql")}
    with psycopg.connect(dsn) as connection:
        table = connection.execute("select to_regclass('supabase_migrations.schema_migrations')").fetchone()
        if table is None or table[0] is None:
            return not wanted
        rows = connection.execute("select version from supabase_migrations.schema_migrations").fetchall()
    return wanted <= {version for (version,) in rows}
