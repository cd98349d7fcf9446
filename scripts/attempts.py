"""`likeness attempts`: list attempts, and show one: why it stands still, and what would help."""

import sys
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec
import typer
from rich.console import Console

from backend.page.operations.findings import explain
from scripts.operations import Row, draw, operations, plain

COLUMNS = (
    *("id", "created_at", "provider", "status", "runtime_status", "preview_status"),
    *("error_code", "finding", "until"),
)
STATE = (
    *("status", "runtime_status", "preview_status", "is_active", "provider", "region", "error_code"),
    *("error_message", "request_id", "cancel_reason", "reflection_id", "employee_id", "user_id", "org_id"),
    *("source", "voice_id", "provider_voice_id", "created_at", "updated_at", "not_before", "lease_owner"),
)
COUNTS = {
    "process": "processing",
    "sync": "runtime sync",
    "preview": "preview",
    "user_retry": "retries by the user",
}
ENROLLMENTS = (
    *("label", "status", "provider", "region", "provider_voice_id", "request_id"),
    *("error_code", "settles_at", "removal_due_at", "created_at"),
)
ANSWERS = ("step", "http_status", "provider_code", "message", "request_id", "count", "last_at")
EVENTS = ("recorded_at", "version", "events", "changes")
LETTERS = ("id", "queue", "dead_at", "reason", "reads")
NOT_FOUND = 1  # the exit code


class Action(StrEnum):
    list_ = "list"
    show = "show"


def attempts(
    action: Annotated[
        Action, typer.Argument(help="list them; show all that is known of one.")
    ] = Action.list_,
    attempt: Annotated[UUID | None, typer.Argument(help="The attempt to show.")] = None,
    *,
    stuck: Annotated[bool, typer.Option("--stuck", help="Those that do not move by themselves.")] = False,
    status: Annotated[str | None, typer.Option(help="Only those with this status.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only those at this provider.")] = None,
    error: Annotated[str | None, typer.Option(help="Only those with this error code.")] = None,
    owner: Annotated[UUID | None, typer.Option(help="Only those of this user or organization.")] = None,
    reflection: Annotated[UUID | None, typer.Option(help="Only those of this reflection.")] = None,
    employee: Annotated[UUID | None, typer.Option(help="Only those of this employee.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only those made since this time, like 2026-11-23T10:00Z.")
    ] = None,
    before: Annotated[
        UUID | None, typer.Option(help="The next page: those before the last of this one.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, the newest first.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="One JSON array, or one object of show.")] = False,
) -> None:
    """List attempts and what each waits for, or show one with its timeline and a remedy. Changes nothing.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL.

    Exit codes: 0 listed; 1 there is no such attempt, or the project could not be reached; 2 wrong usage.

    Example: likeness attempts --stuck; likeness attempts show d037fe95-1b4f-4556-941f-592812cfcff4
    """
    if (action is Action.show) != (attempt is not None):
        raise typer.BadParameter("likeness attempts list, or likeness attempts show ATTEMPT")
    if attempt:
        show_one(attempt, as_json=json)
        return
    if stuck and any((status, provider, error, owner, reflection, employee, since, before)):
        raise typer.BadParameter("--stuck lists all that stand still: leave out the other filters")
    with operations() as project:
        if stuck:
            rows = project.rows("stuck_attempts", limit=limit)
        else:
            rows = project.rows(
                "attempts",
                status=status,
                provider=provider,
                error=error,
                owner=text(owner),
                reflection=text(reflection),
                employee=text(employee),
                since=since,
                before=text(before),
                limit=limit,
            )
    if json:
        sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
        return
    console = Console()
    draw(console, "Attempts that stand still" if stuck else "Attempts", COLUMNS, rows)
    for finding in dict.fromkeys(row["finding"] for row in rows) if stuck else ():
        console.print(f"{finding}: {explain(finding)}", markup=False, soft_wrap=True)
    if len(rows) == limit and not stuck:
        console.print(f"There may be more: --before {rows[-1]['id']}")


def text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def show_one(attempt: UUID, *, as_json: bool) -> None:
    with operations() as project:
        found = project.value("attempt", attempt=str(attempt))
    if found is None:
        sys.exit(f"There is no attempt {attempt}.")
    found["explanation"] = explain(found["finding"]["finding"], found)
    if as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    show(Console(), found)


def show(console: Console, found: dict[str, Any]) -> None:
    row: Row = found["attempt"]
    console.print(f"Attempt {row['id']}: {found['explanation']}", markup=False, soft_wrap=True)
    state = {name: row[name] for name in STATE}
    for name, what in COUNTS.items():
        state[what] = f"{row[f'{name}_count']} of {row[f'{name}_budget']} tries"
    for part in ("deadline", "sample", "voice"):
        state |= {f"{part}: {name}": value for name, value in (found[part] or {}).items()}
    rows = [{"what": what, "value": value} for what, value in state.items() if value is not None]
    draw(console, "State", ("what", "value"), rows)
    draw(console, "Enrollments: create calls at the provider", ENROLLMENTS, found["enrollments"])
    draw(console, "What the provider answered to a step that failed", ANSWERS, found["provider_errors"])
    draw(console, "Timeline", EVENTS, [timeline(event) for event in found["events"]])
    draw(console, "Dead letters", LETTERS, found["dead_letters"])
    if error := found["sweep_error"]:
        console.print(f"The sweep cannot process it: {plain(error['error'])}")


def timeline(event: Row) -> Row:
    """A time that is the event's own is stored as true, and is not repeated here."""
    changes = {
        name: value
        for name, value in event["changes"].items()
        if not (value is True and name.endswith(("_at", "_before")))
    }
    return {
        **event,
        "changes": " ".join(f"{name}={plain(value) or 'none'}" for name, value in changes.items()),
    }
