"""The warnings of the Supabase CLI's advisors."""

import re
import subprocess

from scripts.migrations import ROOT, supabase_cli
from tests.clusters import Database


def advise(database: Database) -> subprocess.CompletedProcess[str]:
    """Fails if there is a warning; the output lists them."""
    command = [supabase_cli(), "db", "advisors", f"--remote={database.postgres}", "--fail-on", "warn"]
    return subprocess.run(
        [*command, "--level", "warn"], cwd=ROOT, text=True, capture_output=True, check=False
    )


def warnings(database: Database) -> set[str]:
    """A key for each."""
    result = advise(database)
    keys = set(re.findall(r'"cache_key": "(.*)"', result.stdout))
    assert bool(keys) == bool(result.returncode), result.stdout + result.stderr
    return keys
