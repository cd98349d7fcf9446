"""What the Supabase CLI's advisors warn of."""

import subprocess

from scripts.migrations import ROOT, supabase_cli
from tests.clusters import Database


def advise(database: Database) -> subprocess.CompletedProcess[str]:
    """Fails where there is a warning; the warnings are in its output."""
    command = [supabase_cli(), "db", "advisors", f"--remote={database.postgres}", "--fail-on", "warn"]
    return subprocess.run(
        [*command, "--level", "warn"], cwd=ROOT, text=True, capture_output=True, check=False
    )
