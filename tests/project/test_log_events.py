"""Log events have one style: a constant name in snake_case, details as fields."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception"}
NAME = re.compile(r"[a-z][a-z0-9_]*")


def log_calls() -> Iterator[tuple[str, str, ast.expr | None]]:
    """Each call of `log.<level>`: where it is, its level, and its first argument."""
    for folder in ("backend", "queue_consumers", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level)) if (
                        level in LEVELS
                    ):
                        event = node.args[0] if node.args else None
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", level, event


def log_levels() -> dict[str, set[str]]:
    """Each event with the levels that it is logged at. An exception is an error with its traceback."""
    found: dict[str, set[str]] = {}
    for _, level, event in log_calls():
        if isinstance(event, ast.Constant):
            found.setdefault(str(event.value), set()).add("error" if level == "exception" else level)
    return found


def test_every_log_event_is_a_name_in_snake_case() -> None:
    calls = list(log_calls())
    assert len(calls) > 30
    wrong = [
        where
        for where, _, event in calls
        if not (isinstance(event, ast.Constant) and NAME.fullmatch(str(event.value)))
    ]
    assert wrong == []
