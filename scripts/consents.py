"""`python -m scripts consents verify`: check that each chain of consents is as it was written."""

import os
import sys
from enum import StrEnum
from typing import Annotated, Any
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
PAGE = 500  # chains checked in one statement
BROKEN = 1  # the exit code
COLUMNS = ("person_id", "position", "consent_id", "problem")


class Action(StrEnum):
    verify = "verify"


class Checked(Struct, frozen=True, kw_only=True):
    persons: int
    last_person: UUID | None
    broken: list[dict[str, Any]]


class Report(Struct, frozen=True, kw_only=True):
    """`persons` is the number of chains."""

    persons: int
    broken: list[dict[str, Any]]


def consents(
    action: Annotated[Action, typer.Argument(help="verify: compute each hash again.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Verify that no entry of the consents was changed, added or taken out. Changes nothing.

    Needs: DATABASE_URL with the login of the service or of the owner.

    Exit codes: 0 every chain is as it was written; 1 an entry is not, or the database could not be read; 2
    DATABASE_URL is not set.

    Example: DATABASE_URL=postgresql://voice_clone_service:…@host:5432/postgres likeness consents verify
    """
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise typer.BadParameter(
            "DATABASE_URL is not set: postgresql://voice_clone_service:…@host:5432/postgres"
        )
    try:
        report = verify(url)
    except psycopg.Error as error:
        sys.exit(f"The consents could not be read: {error}")
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        show(report)
    sys.exit(BROKEN if report.broken else 0)


def verify(url: str) -> Report:
    persons, broken, after = 0, [], None
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        cursor = connection.cursor(row_factory=class_row(Checked))
        while True:
            page = cursor.execute(queries.check, {"after": after, "limit": PAGE}).fetchone()
            assert page is not None  # noqa: S101 - the function returns one row
            persons, broken, after = persons + page.persons, broken + page.broken, page.last_person
            if page.persons < PAGE:
                return Report(persons=persons, broken=broken)


def show(report: Report) -> None:
    console = Console()
    if not report.broken:
        console.print(f"The consents of {report.persons} persons are as they were written.")
        return
    table = Table(*COLUMNS, title="Consents that are not as they were written", title_justify="left")
    for entry in report.broken:
        table.add_row(*("" if entry[column] is None else str(entry[column]) for column in COLUMNS))
    console.print(table)
