"""`likeness dead-letters`: list, show, redrive and drop the messages whose budget is used up."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from scripts.operations import Operations, Row, draw, operations

COLUMNS = ("id", "queue", "dead_at", "reason", "reads", "subject")
PAGE = 500  # read, or changed, in one call
NOT_FOUND = 1  # the exit code


class Action(StrEnum):
    list_ = "list"
    show = "show"
    redrive = "redrive"
    drop = "drop"


DONE = {Action.redrive: "sent again", Action.drop: "forgotten"}  # the actions that change something


def dead_letters(
    action: Annotated[
        Action,
        typer.Argument(help="list them; show some whole; redrive: send them again; drop: forget them."),
    ] = Action.list_,
    ids: Annotated[list[int] | None, typer.Argument(help="Those with these ids; without, all.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only those of this queue.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 100,
    apply: Annotated[bool, typer.Option("--apply", help="Really redrive or drop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """List the messages that used up their budget, each with the reason; send them again or forget them.

    Remove the reason first. Redrive and drop change nothing without --apply. A letter is sent once, also
    where the command runs twice.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL.

    Exit codes: 0 done, or nothing to do; 1 one of these ids is not there, or the project cannot be reached;
    2 wrong usage.

    Example: likeness dead-letters redrive --queue voice_preview --apply
    """
    if action is Action.show and not ids:
        raise typer.BadParameter("show needs ids: likeness dead-letters lists them")
    if ids and len(ids) > PAGE:
        raise typer.BadParameter(f"at most {PAGE} ids")
    with operations() as project:
        letters = found(project, ids or [], queue, limit)
        missing = sorted({*(ids or [])} - {letter["id"] for letter in letters})
        if apply and action in DONE:
            letters = changed(project, action, letters)
    if json:
        sys.stdout.write(msgspec.json.encode(letters).decode() + "\n")
    else:
        show(action, letters, applied=apply)
    for letter in missing:
        sys.stderr.write(f"There is no dead letter {letter}.\n")
    sys.exit(NOT_FOUND if missing else 0)


def found(project: Operations, ids: list[int], queue: str | None, limit: int) -> list[Row]:
    """The newest first, page by page."""
    if ids:
        return project.rows("dead_letters", queue=queue, ids=ids, limit=PAGE)
    letters: list[Row] = []
    while len(letters) < limit:
        before = letters[-1]["id"] if letters else None
        size = min(PAGE, limit - len(letters))
        page = project.rows("dead_letters", queue=queue, before=before, limit=size)
        letters += page
        if len(page) < size:
            break
    return letters


def changed(project: Operations, action: Action, letters: Sequence[Row]) -> list[Row]:
    """Those that this call sent or dropped, a page in each transaction."""
    ids = [letter["id"] for letter in letters]
    function = f"{action}_dead_letters"
    done: list[Row] = []
    for start in range(0, len(ids), PAGE):
        done += project.rows(function, ids=ids[start : start + PAGE])
        sys.stderr.write(f"{len(done)} of {len(ids)} letters\n" if len(ids) > PAGE else "")
    return done


def show(action: Action, letters: Sequence[Row], *, applied: bool) -> None:
    console = Console()
    if action is Action.show:
        console.print_json(msgspec.json.encode(letters).decode())
        return
    writes = action in DONE
    if writes and applied:
        draw(console, f"Dead letters that were {DONE[action]}", ("id", "queue", "subject"), letters)
        return
    draw(console, "Dead letters", COLUMNS, letters)
    if writes and letters:
        console.print(f"Nothing was changed. Add --apply and these are {DONE[action]}.")
