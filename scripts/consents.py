"""`likeness consents`: check that consents and anchors are as they were written, and anchor consents now."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from msgspec import Struct
from rich.console import Console

from scripts.anchors import AnchorReport, verify_anchors
from scripts.operations import Operations, draw, operations

PAGE = 500  # chains checked in one statement
BROKEN = 1  # the exit code
COLUMNS = ("person_id", "position", "consent_id", "problem")


class Action(StrEnum):
    verify = "verify"
    anchor = "anchor"
    spoken = "spoken"
    not_spoken = "not-spoken"


class Report(Struct, frozen=True, kw_only=True):
    """`persons` is the number of chains."""

    persons: int
    broken: list[dict[str, Any]]
    anchors: AnchorReport


def consents(
    action: Annotated[
        Action,
        typer.Argument(
            help="verify: compute each hash again; anchor: open an anchor now, and not after its hour; "
            "spoken: take samples only under a spoken consent; not-spoken: end that."
        ),
    ],
    anchors: Annotated[
        str | None,
        typer.Option(
            "--anchors",
            metavar="FILE",
            help="Published anchors to compare with: the file CONSENT_ANCHOR_FILE; or `bucket`.",
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            "--trust",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="PEM: certificates that may have signed, or their authorities; by default those of C2PA_….",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Verify that no entry of the consents was changed, added or taken out, and neither was an anchor.

    Who owns the database can rewrite both, but no copy that was published elsewhere: give it with --anchors.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL.

    Exit codes: 0 everything is as it was written; 1 something is not, or the project could not be reached;
    2 wrong usage.

    Example: likeness consents verify --anchors /mnt/worm/consent-anchors
    """
    with operations() as project:
        if action is Action.anchor:
            print_opened(open_anchors(project), as_json=json)
            return
        if action in (Action.spoken, Action.not_spoken):
            print_spoken(
                project.value("require_spoken_consent", required=action is Action.spoken), as_json=json
            )
            return
        report = verify(project, anchors, trust)
    if json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        show(report)
    sys.exit(BROKEN if report.broken or report.anchors.problems else 0)


def open_anchors(project: Operations) -> list[int]:
    """Until none waits: an anchor covers a limited number of entries."""
    opened: list[int] = []
    while position := project.value("anchor_consents"):
        opened.append(position)
    return opened


def print_spoken(required: bool, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode({"spoken": required}).decode() + "\n")
    elif required:
        sys.stdout.write(
            "A new sample needs a consent that its user has spoken. Services need the extras"
            " `speakers` and `words`; only statements in English can be spoken.\n"
        )
    else:
        sys.stdout.write("A consent need not be spoken.\n")


def print_opened(opened: list[int], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode({"opened": opened}).decode() + "\n")
    elif opened:
        sys.stdout.write(f"Opened: {', '.join(map(str, opened))}. The service signs and publishes them.\n")
    else:
        sys.stdout.write("Every consent has an anchor.\n")


def verify(project: Operations, anchors: str | None, trust: Path | None) -> Report:
    persons, broken, after = 0, list[dict[str, Any]](), None
    while True:
        (page,) = project.rows("check_consents", after=after, limit=PAGE)
        persons, broken, after = persons + page["persons"], broken + page["broken"], page["last_person"]
        if page["persons"] < PAGE:
            break
    return Report(persons=persons, broken=broken, anchors=verify_anchors(project, anchors, trust))


def show(report: Report) -> None:
    console, found = Console(), report.anchors
    if report.broken:
        draw(console, "Consents that are not as they were written", COLUMNS, report.broken)
    else:
        console.print(f"The consents of {report.persons} persons are as they were written.")
    if found.problems:
        rows = [msgspec.to_builtins(each) for each in found.problems]
        draw(console, "Anchors that are not as they were made", ("position", "problem"), rows)
    else:
        console.print(
            f"{found.anchors} anchors are as they were made; {found.unsigned} have no signature yet."
        )
    if found.compared is None:
        console.print("No published copy was compared: --anchors FILE, or --anchors bucket.")
    else:
        console.print(f"{found.compared} published copies were compared.")
    if found.is_signer_known is None and found.signers:
        console.print(f"Signed by these certificates, of which none was given: {', '.join(found.signers)}")
