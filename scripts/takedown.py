"""`likeness takedown`: freeze everything that was made from a voice after a notice, and lift it again."""

import sys
from typing import Annotated
from uuid import UUID

import msgspec
import typer
from rich.console import Console

from scripts.operations import draw, operations

COLUMNS = ("attempt_id", "voice_id", "provider", "status", "user_id", "reflection_id", "taken_down_at")


def takedown(
    subject: Annotated[UUID, typer.Argument(help="The id of a voice or of an attempt.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept as evidence.")],
    lift: Annotated[bool, typer.Option("--lift", help="Lift the takedown instead.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without it nothing changes.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Freeze a voice: no launch, no speech, no preview, and no address of what it has said.

    In one transaction, with everything that was made of the same sample, at whatever provider, and with every
    use of the same provider voice. Its owner cannot retry, restore or move it, nor clone the same sample
    again; deletion and erasure work. Safe to run twice.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL.

    Exit codes: 0 done, or listed; 1 there is no such voice, or the project could not be reached; 2 wrong
    usage.

    Example: likeness takedown 96cb532a-1555-45fb-a1dc-356825c9a7d9 --reason 'Notice 17' --apply
    """
    if not 1 <= len(reason) <= 500:
        raise typer.BadParameter("a reason has 1 to 500 characters")
    function = "lift_takedown" if lift else "take_down"
    with operations() as project:
        rows = project.rows(function, id=str(subject), reason=reason, apply=apply)
    if json:
        sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
        return
    console = Console()
    draw(console, "Made from this voice", COLUMNS, rows)
    done = "lifted" if lift else "frozen"
    console.print(f"{len(rows)} {done}." if apply else f"Nothing was changed. With --apply these are {done}.")
