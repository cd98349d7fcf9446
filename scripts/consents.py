"""`python -m scripts consents verify`: check that each chain of consents is as it was written."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from scripts.operations import Operations, operations

PAGE = 500  # chains checked in one statement
BROKEN = 1  # the exit code
COLUMNS = ("person_id", "position", "consent_id", "problem")


class Action(StrEnum):
    verify = "verify"


class Report(Struct, frozen=True, kw_only=True):
    """`persons` is the number of chains."""

    persons: int
    broken: list[dict[str, Any]]


def consents(
    action: Annotated[Action, typer.Argument(help="verify: compute each hash again.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Verify that no entry of the consents was changed, added or taken out. Changes nothing.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL.

    Exit codes: 0 every chain is as it was written; 1 an entry is not, or the project could not be reached; 2
    wrong usage.

    Example: likeness consents verify
    """
    with operations() as project:
        report = verify(project)
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        show(report)
    sys.exit(BROKEN if report.broken else 0)


def verify(project: Operations) -> Report:
    persons, broken, after = 0, [], None
    while True:
        (page,) = project.rows("check_consents", after=after, limit=PAGE)
        persons, broken, after = persons + page["persons"], broken + page["broken"], page["last_person"]
        if page["persons"] < PAGE:
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
