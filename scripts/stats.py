"""`likeness stats` and `likeness slots`: what is at work, what fails, how many voices may still be made."""

import sys
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from scripts.operations import draw, operations, plain

SLOTS = ("provider", "region", "slots", "taken", "orphans", "deleted", "updated_at")
QUEUES = ("queue", "queue_length", "oldest_message_seconds", "deferred_length", "dead_length")
FULL = 1  # the exit code


def stats(
    since: Annotated[
        str | None,
        typer.Option(help="Attempts made since this time, like 2026-11-23T10:00Z; without, of a day."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Count attempts by state and by error; show the queues, the sweep and the consumers. Changes nothing.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL.

    Exit codes: 0 shown; 1 the project could not be reached; 2 wrong usage.

    Example: likeness stats --since 2026-11-23T10:00Z
    """
    with operations() as project:
        found = project.value("stats", **({"since": since} if since else {}))
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    console = Console()
    console.print(f"Attempts made since {plain(found['since'])} UTC")
    draw(console, "By status", ("status", "count"), pairs("status", found["attempts"]))
    draw(console, "By error", ("provider", "error_code", "count"), found["errors"])
    draw(
        console,
        "Seconds from queued to ready",
        ("provider", "count", "p50", "p99"),
        [{"provider": provider, **times} for provider, times in found["seconds_to_ready"].items()],
    )
    draw(console, "Queues", QUEUES, found["queues"])
    slots_, sweep, consumers = found["job_slots"], found["sweep"], found["consumers"]
    console.print(
        f"Jobs: {slots_['taken']} of {slots_['all']} at work, {slots_['waiting']} wait for a slot.\n"
        f"Sweep: {sweep['overdue']} attempts overdue.\n"
        f"Consumers: {consumers['alive']} alive, the last seen {plain(consumers['last_seen_at']) or 'never'}."
    )


def pairs(name: str, counts: dict[str, int]) -> list[dict[str, Any]]:
    return [{name: key, "count": count} for key, count in sorted(counts.items())]


def slots(
    json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Show how many voices each provider may keep, and how many it keeps. Changes nothing.

    Needs: SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL.

    Exit codes: 0 each has a free slot; 1 one is full, or the project could not be reached; 2 wrong usage.

    Example: likeness slots --json
    """
    with operations() as project:
        rows = project.rows("slots")
    if json:
        sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
    else:
        console = Console()
        draw(console, "Voices at the providers", SLOTS, rows)
        for row in filter(is_full, rows):
            console.print(
                f"{row['provider']} {row['region']} is full: orphans go when they are due (likeness orphans),"
                " deleted voices go first; otherwise ask the provider for more.",
                markup=False,
            )
    sys.exit(FULL if any(map(is_full, rows)) else 0)


def is_full(row: dict[str, Any]) -> bool:
    return row["slots"] is not None and row["taken"] >= row["slots"]
