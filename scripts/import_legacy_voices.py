"""`python -m scripts import-legacy-voices`: give an attempt to each voice of an earlier system."""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated
from uuid import UUID

import msgspec
import psycopg
import typer
from msgspec import Struct
from psycopg.rows import class_row
from rich.console import Console
from rich.table import Table

from backend.database.queries import load_queries

queries = load_queries(__file__)
PAGE = 50  # reflections in one transaction, which locks them
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

    Needs: DATABASE_URL with the login of the owner.

    Exit codes: 0 listed or imported; 1 a voice could not be imported; 2 DATABASE_URL is not set.

    Example: DATABASE_URL=postgresql://postgres:…@host:5432/postgres likeness import-legacy-voices --apply
    """
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise typer.BadParameter("DATABASE_URL is not set: postgresql://postgres:…@host:5432/postgres")
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            voices = list(imported(connection) if apply else listed(connection))
    except psycopg.Error as error:
        sys.exit(f"The import stopped, and can be repeated: {error}")
    if json:
        sys.stdout.write(msgspec.json.encode(voices).decode() + "\n")
    else:
        show(voices, apply)
    sys.exit(1 if any(voice.error for voice in voices) else 0)


def listed(connection: psycopg.Connection) -> Iterator[LegacyVoice]:
    with connection.cursor(row_factory=class_row(LegacyVoice)) as cursor:
        yield from cursor.execute(queries.legacy_voices).fetchall()


def imported(connection: psycopg.Connection) -> Iterator[LegacyVoice]:
    """Page by page; a row that failed is not tried again in this run."""
    after: UUID | None = None
    with connection.cursor(row_factory=class_row(LegacyVoice)) as cursor:
        while page := cursor.execute(queries.import_page, {"after": after, "limit": PAGE}).fetchall():
            yield from page
            after = page[-1].reflection_id


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
