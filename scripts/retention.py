"""`likeness retention`: how long what is kept, what stands under it now, and legal holds."""

import sys
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import msgspec
import typer
from rich.console import Console

from scripts.operations import Row, draw, operations

SCHEDULE = ("name", "kept for", "kept", "due", "held", "next_at")
HOLDS = ("subject_id", "reason", "placed_at", "released_at")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
NOT_HELD = 1  # the exit code


class Action(StrEnum):
    list_ = "list"
    set_ = "set"
    holds = "holds"
    hold = "hold"
    release = "release"


def retention(
    action: Annotated[
        Action,
        typer.Argument(
            help="list: the schedule; set NAME TIME: another time; holds: all legal holds; "
            "hold ID: keep the files of this user or employee; release ID: end that."
        ),
    ] = Action.list_,
    subject: Annotated[str | None, typer.Argument(help="A name of the schedule, or an id.")] = None,
    time: Annotated[str | None, typer.Argument(help="90d, 12h, 30m or never.")] = None,
    reason: Annotated[str | None, typer.Option(help="Of a hold: at most 500 characters.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Really change it.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Read or change how long samples, previews and the rest are kept, and who is under a legal hold.

    The sweep removes what is due, a few hundred rows at a time; its files leave Storage by the queue. A
    shorter time applies to what is kept already. Under a hold no file of the person is removed, whoever
    asks: voices and sessions end as before. set, hold and release change nothing without --apply.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL of the owner.

    Exit codes: 0 done; 1 nobody holds this person, or the project could not be reached; 2 wrong usage.

    Example: likeness retention set sample 90d --apply
    """
    if action is Action.set_:
        rows = set_time(subject, time, apply=apply)
    elif action is Action.hold:
        rows = hold(identifier(subject), reason, apply=apply)
    elif action is Action.release:
        rows = release(identifier(subject), apply=apply)
    else:
        with operations() as project:
            rows = project.rows("retention" if action is Action.list_ else "legal_holds")
    if json:
        sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
    elif action in (Action.list_, Action.set_):
        named = [{**row, "kept for": in_words(row["seconds"])} for row in rows]
        draw(Console(), "What is kept, and for how long", SCHEDULE, named)
    else:
        draw(Console(), "Legal holds", HOLDS, rows)


def set_time(name: str | None, time: str | None, *, apply: bool) -> list[Row]:
    if name is None or time is None:
        raise typer.BadParameter("name what, and for how long: likeness retention set sample 90d")
    seconds = None if time == "never" else parse(time)
    with operations() as project:
        if name not in {row["name"] for row in project.rows("retention")}:
            raise typer.BadParameter(f"there is no {name} in the schedule that likeness retention lists")
        if apply:
            project.rows("set_retention", name=name, seconds=seconds)
        found = [row for row in project.rows("retention") if row["name"] == name]
    tell(apply=apply, what=f"{name} is kept for {in_words(seconds)}")
    return found


def hold(subject: UUID, reason: str | None, *, apply: bool) -> list[Row]:
    if not reason:
        raise typer.BadParameter("give the --reason")
    tell(apply=apply, what=f"no file of {subject} is removed")
    if not apply:
        return []
    with operations() as project:
        return project.rows("place_hold", subject=str(subject), reason=reason)


def release(subject: UUID, *, apply: bool) -> list[Row]:
    with operations() as project:
        held = [row for row in project.rows("legal_holds") if row["subject_id"] == str(subject)]
        active = [row for row in held if row["released_at"] is None]
        if active and apply:
            project.rows("release_hold", subject=str(subject))
    if not active:
        sys.stderr.write(f"Nobody holds {subject}.\n")
        sys.exit(NOT_HELD)
    tell(apply=apply, what=f"what was to be removed of {subject} goes")
    return active


def tell(*, apply: bool, what: str) -> None:
    sys.stderr.write(
        f"From now on {what}.\n" if apply else f"Nothing was changed. Add --apply, and {what}.\n"
    )


def identifier(value: str | None) -> UUID:
    try:
        return UUID(value or "")
    except ValueError:
        raise typer.BadParameter("give the id of a user or an employee") from None


def parse(time: str) -> float:
    number, unit = time[:-1], UNITS.get(time[-1:])
    if unit is None or not number.isdecimal():
        raise typer.BadParameter(f"{time} is not a time: write 90d, 12h, 30m or never")
    return float(number) * unit


def in_words(seconds: float | None) -> str:
    if seconds is None:
        return "ever"
    for unit in ("d", "h", "m"):
        if seconds >= UNITS[unit] and seconds % UNITS[unit] == 0:
            return f"{seconds / UNITS[unit]:.0f} {unit}"
    return f"{seconds:.0f} s"
