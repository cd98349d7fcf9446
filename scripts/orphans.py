"""`python -m scripts orphans`: provider voices without an owner, and with --reconcile every mismatch."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
import psycopg
import typer
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from backend.settings import load_settings
from backend.settings.sections import SettingsError
from scripts.operations import operations, uncut
from scripts.reconcile.voices import Elsewhere, Missing, Orphan, Unknown, reconcile

PLACE = ("provider", "region", "provider_voice_id")
ORPHAN_COLUMNS = (*PLACE, "label", "status", "cancel_reason", "removal_due_at")
UNKNOWN_COLUMNS = (*PLACE, "label", "enrollment_status", "created_at")
ELSEWHERE_COLUMNS = ("provider", "region", "account", "enrollments", "reason")
MISSING_COLUMNS = (*PLACE, "voice_id", "attempt_id")


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The output of the command; the optional fields are those of --reconcile."""

    orphans: list[Orphan]
    unknown: list[Unknown] | None = None
    missing: list[Missing] | None = None
    elsewhere: list[Elsewhere] | None = None
    lost: int | None = None  # voices that --lose-missing closed
    errors: dict[str, str] | None = None  # the providers that could not be read, and why


def orphans(
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    reconciled: Annotated[
        bool,
        typer.Option(
            "--reconcile",
            help="Also compare with what each provider lists: voices that are unknown here, and voices "
            "that their provider has lost. Needs the service's settings.",
        ),
    ] = False,
    lose_missing: Annotated[
        bool,
        typer.Option(
            "--lose-missing",
            help="With --reconcile: close the gate of each voice that its provider has lost and "
            "that is older than an hour. Its user can make it again from its sample.",
        ),
    ] = False,
) -> None:
    """List provider voices without a voice row; the sweep removes them when they are due.

    Only --lose-missing changes something. It stops where a provider seems to have none of three or more
    voices: then the key is rather one of another account.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL; --reconcile, the service's settings.

    Exit codes: 0 listed; 1 the project or a provider could not be read; 2 wrong usage.

    Example: likeness orphans --json
    """
    if lose_missing and not reconciled:
        raise typer.BadParameter("--lose-missing needs --reconcile")
    with operations() as project:
        report = Report(orphans=msgspec.convert(project.rows("orphans"), list[Orphan]))
    if reconciled:
        try:
            found = asyncio.run(reconcile(load_settings(), lose=lose_missing))
        except (psycopg.Error, SettingsError) as error:
            sys.exit(str(error))
        report = msgspec.structs.replace(
            report,
            unknown=found.unknown,
            missing=found.missing,
            lost=found.lost if lose_missing else None,
            elsewhere=found.elsewhere or None,
            errors=found.errors or None,
        )
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        show(report)
    sys.exit(1 if report.errors else 0)


def show(report: Report) -> None:
    console = Console()
    draw(console, "Orphans", ORPHAN_COLUMNS, report.orphans)
    if report.unknown is not None:
        draw(console, "At a provider, and unknown here", UNKNOWN_COLUMNS, report.unknown)
    if report.missing is not None:
        draw(console, "Kept here, and missing at their provider", MISSING_COLUMNS, report.missing)
    if report.lost is not None:
        console.print(f"Closed, because their provider does not have them any more: {report.lost}.")
    if report.elsewhere:
        draw(console, "Where these settings do not look", ELSEWHERE_COLUMNS, report.elsewhere)
    for provider, why in (report.errors or {}).items():
        console.print(f"{provider} could not be asked: {why}", markup=False)


def draw(console: Console, title: str, columns: Sequence[str], rows: Sequence[Struct]) -> None:
    if not rows:
        console.print(f"{title}: none.")
        return
    table = Table(*map(uncut, columns), title=title, title_justify="left")
    for row in rows:
        table.add_row(*(plain(getattr(row, column)) for column in columns))
    console.print(table)


def plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return "" if value is None else str(value)
