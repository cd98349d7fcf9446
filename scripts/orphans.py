"""`likeness orphans`: provider voices without an owner, and when each is removed."""

import sys
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from scripts.operations import draw, operations

COLUMNS = (
    *("provider", "region", "provider_voice_id", "label", "status", "cancel_reason", "removal_due_at"),
)


def orphans(
    json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """List provider voices without a voice row; the sweep removes them when they are due. Changes nothing.

    What providers have and nothing here knows, `likeness reconcile voices` finds.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL.

    Exit codes: 0 listed; 1 the project could not be reached; 2 wrong usage.

    Example: likeness orphans --json
    """
    with operations() as project:
        rows = project.rows("orphans")
    if json:
        sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
    else:
        draw(Console(), "Orphans", COLUMNS, rows)
