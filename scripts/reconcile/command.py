"""`likeness reconcile`: compare the rows with providers, mirrors and Storage, and repair what differs."""

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from scripts.operations import operations
from scripts.reconcile import mirror
from scripts.reconcile.report import Report
from scripts.retention import parse

FOUND, FAULT, INTERRUPTED = 1, 2, 130  # exit codes


class Action(StrEnum):
    mirror = "mirror"


SHOWS: Mapping[Action, tuple[Sequence[str], Mapping[str, str]]] = {
    Action.mirror: (mirror.COLUMNS, mirror.MEANINGS),
}
QUIET = {Action.mirror: "1m"}  # what changed since may still be on its way


def reconcile(
    action: Annotated[
        Action, typer.Argument(help="mirror: reflections and employees against their attempts.")
    ],
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Repair; without it nothing changes.")] = False,
    older_than: Annotated[
        str | None, typer.Option(help="Only what has not changed for this time: 1m for mirrors.")
    ] = None,
    page: Annotated[int, typer.Option(min=1, max=1000, help="Rows that one call compares.")] = 500,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: each finding, then the counts.")
    ] = False,
) -> None:
    """Compare the rows with what they are about, page by page, and list what differs.

    --apply repairs by the ordinary messages: consumers do the work. Each run may be interrupted and repeated.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL.

    Exit codes: 0 nothing was found; 1 something was found, also if it was repaired; 2 something could not be
    compared, or wrong usage; 130 interrupted.

    Example: likeness reconcile mirror --apply
    """
    seconds = parse(older_than or QUIET[action])
    report = Report(as_json=json)
    try:
        with operations(FAULT) as project:
            mirror.compare_mirrors(project, report, apply=apply, quiet_seconds=seconds, page=page)
    except KeyboardInterrupt:
        sys.stderr.write(f"Stopped after {report.compared}. Run the command again.\n")
        sys.exit(INTERRUPTED)
    columns, meanings = SHOWS[action]
    report.finish(columns, meanings, applied=apply)
    sys.exit(FAULT if report.faults else FOUND if report.counts else 0)
