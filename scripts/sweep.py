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
    "upload_sent": "uploads that arrived, and whose message was lost and sent again",
    "samples": "samples whose inspection is due again, and samples that nothing used in time",
    "enrollments": "voices at a provider whose outcome or removal is due",
    "job_slots": "jobs that waited although a slot was free, and have it now",
    "speech_sent": "texts to speak whose message was due, or lost and sent again",
    "speech_requeued": "texts to speak whose worker was lost; queued again",
    "speech_failed": "texts to speak, out of budget or past a deadline",
    "speech_postponed": "texts to speak that still wait for their voice, for a slot or for their worker",
    "speech_expired": "spoken texts whose retention has ended; their removal is requested",
    "recording_sent": "recordings of calls whose message was due, or lost and sent again",
    "recording_requeued": "recordings whose worker was lost; queued again",
    "recording_failed": "recordings, out of budget or past a deadline",
    "recording_postponed": "recordings whose worker renewed its lease",
    "recording_expired": "recordings that nobody assigned to an employee in time, and deleted now",
    "recording_move_given_up": "moves of a recording whose command died: run `likeness recordings move`",
    "recording_clone_sent": "clones of stored recordings whose message was lost and sent again",
    "file_sent": "voice files of employees whose message was lost and sent again",
    "webhooks_sent": "webhooks with events to deliver; a message was sent for each",
    "deliveries_failed": "events for a webhook that is disabled",
    "deliveries_removed": "delivered events whose retention was over, and deleted now",
    "released": "deleted voices whose retention has ended; their removal is requested",
    "expired_samples": "samples whose retention has ended; their removal is requested",
    "expired_previews": "previews whose retention has ended; their removal is requested",
    "expired_recordings": "recordings whose retention has ended; their removal is requested",
    "object_removals": "removals of recordings and previews that are due",
    "erasures": "erasures of which every place is confirmed by now",
    "voice_checks": "accounts whose voices are looked up at their provider; a message was sent for each",
    "consent_anchors": "signed heads of the consents that are not published yet; a message was sent for each",
    "broken_consents": "entries that are not as they were written: see `likeness consents verify`",
    "challenges": "sentences for spoken consents that nobody read in time, and deleted now",
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
        table.add_row(what, str(count), MEANINGS.get(what, "(of a newer version)"))
    console.print(table)
