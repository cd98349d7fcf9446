"""`python -m scripts import-legacy-voices`: give an attempt to each voice of an earlier system."""

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from scripts.operations import Operations, end, operations

IMPORTED = 50  # reflections in one transaction, which locks them
LISTED = 1000  # the Data API answers with no more
INTERRUPTED = 130  # the exit code
COLUMNS = ("reflection_id", "user_id", "provider", "provider_voice_id", "outcome", "error")
MEANINGS = {
    "ready": "the voice is ready, and waits for its runtime sync and its preview",
    "incomplete": "provider, id or model is unknown: the reflection has no voice from now on",
    "error": "not imported; run the command again once the reason is gone",
}


class LegacyVoice(Struct, frozen=True, kw_only=True):
    """A reflection whose voice is ready in the earlier system, and the outcome of its import."""

    reflection_id: UUID
    user_id: UUID
    provider: str | None
    provider_voice_id: str | None
    outcome: str
    error: str | None = None


def import_legacy_voices(
    apply: Annotated[bool, typer.Option("--apply", help="Import them; without it nothing changes.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Import the voices that an earlier system left in `reflections.voice`.

    Lists them; with --apply imports them, fifty in a transaction. It may be interrupted and repeated.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL.

    Exit codes: 0 listed or imported; 1 a voice could not be imported, or the project could not be reached;
    2 wrong usage; 130 interrupted.

    Example: likeness import-legacy-voices --apply
    """
    voices: list[LegacyVoice] = []
    try:
        with operations() as project:
            read_pages(project, voices, apply=apply)
    except KeyboardInterrupt:
        end(f"Stopped after {len(voices)} voices. Run the command again to continue.", INTERRUPTED)
    if json:
        sys.stdout.write(msgspec.json.encode(voices).decode() + "\n")
    else:
        show(voices, apply)
    sys.exit(1 if any(voice.error for voice in voices) else 0)


def read_pages(project: Operations, voices: list[LegacyVoice], *, apply: bool) -> None:
    """Adds the voices page by page; a row that failed is not tried again in this run."""
    function, limit = ("import_legacy_voices", IMPORTED) if apply else ("legacy_voices", LISTED)
    after: str | None = None
    while page := project.rows(function, after=after, limit=limit):
        voices += msgspec.convert(page, list[LegacyVoice])
        after = page[-1]["reflection_id"]
        sys.stderr.write(f"{len(voices)} voices\n")


def show(voices: Sequence[LegacyVoice], applied: bool) -> None:
    console = Console()
    if not voices:
        console.print("Nothing to import.")
        return
    table = Table(*COLUMNS)
    for voice in voices:
        table.add_row(*(str(getattr(voice, column) or "") for column in COLUMNS))
    console.print(table)
    for outcome, count in sorted(Counter(voice.outcome for voice in voices).items()):
        console.print(f"{outcome}: {count} ({MEANINGS[outcome]})", markup=False)
    if not applied:
        console.print("Nothing was changed. Add --apply to import them.")
