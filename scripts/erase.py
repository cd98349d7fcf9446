"""`likeness erase`: erase a person or a voice, read receipts, and apply a ledger after a restore."""

import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
import typer
from msgspec import Struct
from rich.console import Console

from scripts.operations import Operations, Row, draw, operations

PLACES = ("place", "name", "confirmed_at", "is_held")
LEDGER = ("id", "kind", "subject_hash", "requested_by", "requested_at", "completed_at")
PAGE = 1000
PARTIAL = 1  # the exit code


class Action(StrEnum):
    user = "user"
    employee = "employee"
    voice = "voice"
    show = "show"
    ledger = "ledger"
    again = "again"


class Entry(Struct):
    """Of the ledger; the other fields are for people."""

    kind: str
    subject_hash: str


def erase(
    action: Annotated[
        Action,
        typer.Argument(
            help="user, employee or voice: erase it; show: a receipt; ledger: all entries; "
            "again: erase who is there again of a saved ledger."
        ),
    ],
    subject: Annotated[
        str | None, typer.Argument(help="The id of what is erased, or of the erasure; the file of again.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Really erase. There is no way back.")] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON: a receipt, or an array.")] = False,
) -> None:
    """Erase all that is held about a user, an employee or a voice, and read what is confirmed by now.

    Everything is silent at once; voices leave their providers and objects leave Storage by the queues.
    Consents and events stay as proof, without the person. Save the ledger where your backups are not, for
    example each night: it names nobody, and `again` erases what a restored backup brought back.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL of the owner.

    Exit codes: 0 complete, or nothing to do; 1 partial, or the project could not be reached; 2 wrong usage.

    Example: likeness erase user 3f0c1c5e-8f5b-4a51-9d5e-0d6c2f7f6f11 --apply
    """
    with operations() as project:
        if action is Action.ledger:
            print_ledger(list(ledger(project)), as_json=json)
        elif action is Action.again:
            erase_again(project, entries(subject), apply=apply, as_json=json)
        elif action is Action.show:
            found = project.value("erasure", erasure=str(identifier(subject)))
            print_receipts([found] if found else [], as_json=json)
        elif apply:
            found = project.value("erase", kind=action.value, subject=str(identifier(subject)))
            print_receipts([found], as_json=json)
        else:
            identifier(subject)
            sys.stdout.write(
                f"Nothing was erased. Add --apply, and everything of this {action} goes for good.\n"
            )


def identifier(subject: str | None) -> UUID:
    try:
        return UUID(subject or "")
    except ValueError:
        raise typer.BadParameter("an id is needed: likeness erase user ID") from None


def ledger(project: Operations) -> Iterator[Row]:
    after = None
    while page := project.rows("erasures", after=after, limit=PAGE):
        yield from page
        after = page[-1]["id"]
        if len(page) < PAGE:
            return


def entries(file: str | None) -> list[Entry]:
    try:
        return msgspec.json.decode(Path(file or "").read_bytes(), type=list[Entry])
    except (OSError, msgspec.DecodeError) as error:
        raise typer.BadParameter(
            f"a file that `likeness erase ledger --json` wrote is needed: {error}"
        ) from None


def erase_again(project: Operations, saved: Sequence[Entry], *, apply: bool, as_json: bool) -> None:
    hashes = sorted({entry.subject_hash for entry in saved})
    there: list[Row] = []
    for start in range(0, len(hashes), PAGE):
        there += project.rows("subjects_of_erasures", hashes=hashes[start : start + PAGE])
    if apply:
        done = [
            project.value("erase", kind=row["kind"], subject=row["subject"], by="ledger") for row in there
        ]
        print_receipts(done, as_json=as_json)
    elif as_json:
        sys.stdout.write(msgspec.json.encode(there).decode() + "\n")
    else:
        draw(Console(), "There again", ("kind", "subject"), there)
        if there:
            sys.stdout.write("Nothing was erased. Add --apply to erase these again.\n")


def print_ledger(rows: Sequence[Row], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
    else:
        draw(Console(), "Erasures", LEDGER, rows)


def print_receipts(receipts: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Ends the command with 1 where something is not confirmed yet."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(receipts).decode() + "\n")
    elif not receipts:
        sys.stdout.write("There is nothing to erase, or no such erasure.\n")
    else:
        console = Console()
        for receipt in receipts:
            draw(console, f"Erasure {receipt['erasure_id']}: {receipt['status']}", PLACES, receipt["places"])
    if any(receipt["status"] == "partial" for receipt in receipts):
        sys.stderr.write("What is not confirmed follows by itself: likeness erase show ID\n")
        sys.exit(PARTIAL)
