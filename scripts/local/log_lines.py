"""The logs of a running stack as lines for a terminal: requests of clients, warnings and errors."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape

from scripts.local.supabase.processes import Child

NAMES = ("service", "consumers")
POLL_SECONDS = 0.1
NOT_SHOWN = ("/internal/", "/health/")  # the consumers' own calls, and probes
STYLES = {"warning": "yellow", "error": "red", "critical": "red"}
BELONGS_TO_ALL = {"event", "level", "timestamp", "request_id"}


async def follow_logs(children: Sequence[Child], console: Console) -> None:
    """Prints what is logged from now on, until it is cancelled."""
    readers = [LogReader(child.log) for child in children if child.name in NAMES]
    while True:
        for reader in readers:
            for line in reader.new_lines():
                if shown := in_words(line):
                    console.print(shown)
        await asyncio.sleep(POLL_SECONDS)


class LogReader:
    """Whole lines that were added since the last call."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._position = log.stat().st_size

    def new_lines(self) -> Iterator[bytes]:
        with self._log.open("rb") as file:
            file.seek(self._position)
            added = file.read()
        whole = added.rpartition(b"\n")[0]
        if whole:
            self._position += len(whole) + 1
            yield from whole.split(b"\n")


def in_words(line: bytes) -> str:
    """With the markup of rich; empty where the line is not for people."""
    try:
        entry = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        return escape(line.decode(errors="replace"))
    time = str(entry.get("timestamp", ""))[11:19]
    if entry.get("event") == "request":
        route = entry.get("route") or "(no route)"
        if str(route).startswith(NOT_SHOWN):
            return ""
        status = entry.get("status")
        style = (
            "red" if not isinstance(status, int) or status >= 500 else "yellow" if status >= 400 else "green"
        )
        return (
            f"[dim]{time}[/]  [{style}]{status}[/]  {entry.get('method')} {escape(str(route))}"
            f"  [dim]{entry.get('ms', 0):.0f} ms[/]"
        )
    if style := STYLES.get(str(entry.get("level"))):
        told = " ".join(f"{name}={value}" for name, value in entry.items() if name not in BELONGS_TO_ALL)
        return f"[dim]{time}[/]  [{style}]{entry.get('level')}[/]  {entry.get('event')}  {escape(told)}"
    return ""
