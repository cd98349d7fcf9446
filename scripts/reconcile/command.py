"""`likeness reconcile`: compare the rows with providers, mirrors and Storage, and repair what differs."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, get_args

import typer

from backend.settings.providers import ProviderName
from backend.settings.sections import SettingsError
from scripts.operations import Operations, end, operations
from scripts.reconcile import mirror, storage, voices
from scripts.reconcile.providers import read_keys
from scripts.reconcile.report import Report
from scripts.retention import parse

FOUND, FAULT, INTERRUPTED = 1, 2, 130  # exit codes


class Action(StrEnum):
    mirror = "mirror"
    storage = "storage"
    voices = "voices"


SHOWS: Mapping[Action, tuple[Sequence[str], Mapping[str, str]]] = {
    Action.mirror: (mirror.COLUMNS, mirror.MEANINGS),
    Action.storage: (storage.COLUMNS, storage.MEANINGS),
    Action.voices: (voices.COLUMNS, voices.MEANINGS),
}
QUIET = {Action.storage: "1d"}  # or 1m: what changed since may still be on its way


def reconcile(
    action: Annotated[
        Action,
        typer.Argument(
            help="mirror: reflections and employees against their attempts; voices: what each provider lists "
            "against our rows; storage: the objects of our buckets against the rows that name them."
        ),
    ],
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Repair; without it nothing changes.")] = False,
    provider: Annotated[str | None, typer.Option(help="Only the voices of this provider.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Of voices: read the list from its beginning.")
    ] = False,
    older_than: Annotated[
        str | None,
        typer.Option(help="Only what has not changed for this time: 1m for mirrors, 1d for storage."),
    ] = None,
    page: Annotated[int, typer.Option(min=1, max=1000, help="Rows that one call compares.")] = 500,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: each finding, then the counts.")
    ] = False,
) -> None:
    """Compare the rows with what they are about, page by page, and list what differs.

    --apply repairs by the ordinary functions and messages: consumers do the work. Each run may be interrupted
    and repeated; one of voices goes on where it stopped.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL; voices, both, and the keys of the providers.

    Exit codes: 0 nothing was found; 1 something was found, also if it was repaired; 2 something could not be
    compared, or wrong usage; 130 interrupted.

    Example: likeness reconcile mirror --apply
    """
    if provider is not None and provider not in get_args(ProviderName):
        raise typer.BadParameter(f"one of {', '.join(get_args(ProviderName))}", param_hint="--provider")
    quiet = parse(older_than or QUIET.get(action, "1m"))
    report = Report(as_json=json, named=voices.NAMED)
    try:
        with operations(FAULT) as project:
            if action is Action.storage:
                storage.compare_storage(project, report, apply=apply, quiet_seconds=quiet, page=page)
            elif action is Action.mirror:
                mirror.compare_mirrors(project, report, apply=apply, quiet_seconds=quiet, page=page)
            else:
                compare_voices(project, report, only=provider, apply=apply, restart=restart, page=page)
    except KeyboardInterrupt:
        sys.stderr.write(f"Stopped after {report.compared}. Run the command again.\n")
        sys.exit(INTERRUPTED)
    columns, meanings = SHOWS[action]
    report.finish(columns, meanings, applied=apply)
    sys.exit(FAULT if report.faults else FOUND if report.found else 0)


def compare_voices(
    project: Operations, report: Report, *, only: str | None, apply: bool, restart: bool, page: int
) -> None:
    try:
        keys = read_keys()
    except SettingsError as error:
        end(str(error), FAULT)
    if only and only not in {"local", *(name.split()[0] for name in keys.providers.configured)}:
        end(f"{only} is not set up here: .env.example names its settings.", FAULT)
    asyncio.run(
        voices.compare_voices(project, report, keys, only=only, apply=apply, restart=restart, page=page)
    )
