"""`python -m scripts recordings move`: move recordings of an older layout to their employees."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
import psycopg
import typer
from psycopg import AsyncConnection
from rich.console import Console
from rich.table import Table

from backend.errors import AppError
from backend.settings import Settings, load_settings
from backend.settings.sections import SettingsError
from backend.storage.client import Storage
from backend.web.upstreams import Upstreams
from scripts.move_recordings import MovedRecording, move_recordings

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


class Action(StrEnum):
    move = "move"


def recordings(
    action: Annotated[Action, typer.Argument(help="move: from {call_id}/{RecordingSid}.wav.")],
    apply: Annotated[bool, typer.Option("--apply", help="Move them; without it nothing changes.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The largest number that one run moves.")] = 500,
    json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Move recordings of the layout {call_id}/{RecordingSid}.wav to their employees.

    Lists them; with --apply moves them, one in a transaction. Of an employee the newest is moved; older ones
    stay. It may be interrupted and repeated.

    Needs: DATABASE_URL and the service's other settings.

    Exit codes: 0 listed, or nothing is left to move; 1 the database or Storage could not be read;
    2 DATABASE_URL is not set; 3 some wait: run it again; 130 interrupted.

    Example: likeness recordings move --apply
    """
    if not os.environ.get("DATABASE_URL"):
        raise typer.BadParameter(
            "DATABASE_URL is not set: postgresql://voice_clone_service:…@host:5432/postgres"
        )
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.exit(str(error))
    done: list[MovedRecording] = []
    try:
        asyncio.run(move(settings, done, apply=apply, limit=limit))
    except (psycopg.Error, AppError) as error:
        sys.exit(f"The move stopped after {len(done)} recordings, and can be repeated: {error}")
    except KeyboardInterrupt:
        Console(stderr=True).print(
            f"Stopped after {len(done)} recordings. Run the command again to continue."
        )
        sys.exit(INTERRUPTED)
    if json:
        sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    else:
        show(done, apply)
    sys.exit(AGAIN if apply and any(each.outcome == "later" for each in done) else 0)


async def move(settings: Settings, done: list[MovedRecording], *, apply: bool, limit: int) -> None:
    upstreams = Upstreams()
    storage = Storage(settings.supabase, upstreams.storage)
    most = settings.twilio.max_recording_bytes
    connecting = AsyncConnection.connect(settings.database.url, autocommit=True, connect_timeout=10)
    async with upstreams, await connecting as connection:
        async for each in move_recordings(storage, connection, apply=apply, limit=limit, most_bytes=most):
            done.append(each)  # noqa: PERF401 - an interrupted run tells how many there were


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
