"""`python -m scripts recordings move`: move recordings of an older layout to their employees."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from backend.errors import AppError
from backend.settings.sections import SettingsError, read_section
from backend.settings.supabase import SupabaseSettings
from backend.settings.twilio import TwilioSettings
from backend.storage.client import Storage
from backend.web.upstreams import Upstreams
from scripts.move_recordings import MovedRecording, move_recordings
from scripts.operations import Operations, end, operations

MEANINGS = {
    "movable": "would be moved",
    "moved": "is the employee's object now, or was replaced by a newer one",
    "older": "stays: the employee has a newer recording",
    "known": "stays: its callback came, and its row says what becomes of it",
    "unmatched": "stays: no record of the call names an employee",
    "too_large": "stays: it has more bytes than MAX_RECORDING_BYTES",
    "later": "waits: run the command again",
}
COLUMNS = ("path", "outcome", "employee_id")
AGAIN, INTERRUPTED = 3, 130  # exit codes
PROGRESS = 100  # recordings between two lines


class Action(StrEnum):
    move = "move"


def recordings(
    action: Annotated[Action, typer.Argument(help="move: from {call_id}/{RecordingSid}.wav.")],
    apply: Annotated[bool, typer.Option("--apply", help="Move them; without it nothing changes.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The largest number that one run moves.")] = 500,
    json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Move recordings of the layout {call_id}/{RecordingSid}.wav to their employees.

    Lists them; with --apply moves them, one at a time. Of an employee the newest is moved; older ones stay.
    It may be interrupted and repeated; a copy that was under way is made again after two minutes.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY; DATABASE_URL is used where it is set.

    Exit codes: 0 listed, or nothing is left to move; 1 the project could not be reached; 2 wrong usage, or a
    setting is missing; 3 some wait: run it again; 130 interrupted.

    Example: likeness recordings move --apply
    """
    problems: list[str] = []
    supabase = read_section(SupabaseSettings, os.environ, problems)
    twilio = read_section(TwilioSettings, os.environ, problems)
    if problems or supabase is None or twilio is None:
        end(str(SettingsError(problems)), 2)
    most = twilio.max_recording_bytes
    done: list[MovedRecording] = []
    try:
        with operations() as project:
            asyncio.run(move(project, supabase, done, apply=apply, limit=limit, most_bytes=most))
    except AppError as error:
        end(f"The move stopped after {len(done)} recordings, and can be repeated: {error}", 1)
    except KeyboardInterrupt:
        end(f"Stopped after {len(done)} recordings. Run the command again to continue.", INTERRUPTED)
    if json:
        sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    else:
        show(done, apply)
    sys.exit(AGAIN if apply and any(each.outcome == "later" for each in done) else 0)


async def move(
    project: Operations,
    supabase: SupabaseSettings,
    done: list[MovedRecording],
    *,
    apply: bool,
    limit: int,
    most_bytes: int,
) -> None:
    async with Upstreams() as upstreams:
        storage = Storage(supabase, upstreams.storage)
        async for each in move_recordings(project, storage, apply=apply, limit=limit, most_bytes=most_bytes):
            done.append(each)
            if len(done) % PROGRESS == 0:
                sys.stderr.write(f"{len(done)} recordings looked at\n")


def show(done: Sequence[MovedRecording], applied: bool) -> None:
    console = Console()
    if not done:
        console.print("No recording of the older layout is there.")
        return
    table = Table(*COLUMNS)
    for each in done:
        table.add_row(*(str(getattr(each, column) or "") for column in COLUMNS))
    console.print(table)
    for outcome, count in sorted(Counter(each.outcome for each in done).items()):
        console.print(f"{outcome}: {count} ({MEANINGS[outcome]})", markup=False, highlight=False)
    if not applied:
        console.print("Nothing was changed. Add --apply to move them.")
