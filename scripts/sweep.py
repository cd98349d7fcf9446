"""`python -m scripts sweep`: run the sweep once, and print what it did."""

import sys
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from scripts.operations import operations

MEANINGS = {
    "expired": "uploads that were not finalized in time",
    "sent": "messages that were due, or lost and sent again",
    "requeued": "leases that ran out; the work is queued again",
    "failed": "out of budget, or past a deadline",
    "postponed": "not due yet, or still waiting for their mirror",
    "mirrors": "mirrors that were behind; a message was sent for each",
    "compared": "attempts whose mirror is up to date, so that nothing is awaited any more",
    "enrollments": "voices at a provider whose outcome or removal is due",
    "released": "deleted voices whose retention has ended; their removal is requested",
    "object_removals": "removals of recordings and previews that are due",
    "erasures": "erasures of which every place is confirmed by now",
    "voice_checks": "accounts whose voices are looked up at their provider; a message was sent for each",
    "consent_anchors": "signed heads of the consents that are not published yet; a message was sent for each",
    "broken_consents": "entries that are not as they were written: see `likeness consents verify`",
    "kept_manifests": "marks of speech in formats that hold none, whose time was over, and deleted now",
    "idempotency_keys": "answers kept for repeated requests, and deleted now",
    "errors": "could not be swept: Postgres's log names each and its error",
}
ERRORS = 1  # the exit code


def sweep(
    limit: Annotated[
        int, typer.Option(min=1, max=500, help="The largest number of rows of each kind.")
    ] = 500,
    json: Annotated[bool, typer.Option("--json", help="Counts as one JSON object.")] = False,
) -> None:
    """Recover what is overdue, as the consumers do by timer. Safe at any time, also twice at the same time.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL.

    Exit codes: 0 done, or nothing was due; 1 the sweep did not run, or a row could not be processed; 2 wrong
    usage.

    Example: likeness sweep --json
    """
    with operations() as project:
        done = {row["what"]: row["count"] for row in project.rows("sweep", limit=limit)}
    if json:
        sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    else:
        show(done)
    sys.exit(ERRORS if "errors" in done else 0)


def show(done: dict[str, int]) -> None:
    console = Console()
    if not done:
        console.print("Nothing was due.")
        return
    table = Table("what", "count", "which are")
    for what, count in sorted(done.items()):
        table.add_row(what, str(count), MEANINGS.get(what, ""))
    console.print(table)
