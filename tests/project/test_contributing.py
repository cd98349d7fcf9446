"""The examples of CONTRIBUTING, followed to the letter in a copy of the checkout: their tests pass."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.migrations import ROOT
from tests.project.documents import section

FENCED = re.compile(r"^( *)```\w+\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The tracked files and the new ones, with the packages that are installed."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    for installed in (".venv", "node_modules"):
        (tmp_path / installed).symlink_to(ROOT / installed)
    return tmp_path


def blocks(heading: str) -> list[str]:
    found = FENCED.findall(section(ROOT / "CONTRIBUTING.md", heading))
    return [textwrap.dedent(text) for _, text in found]


def edit(copy: Path, pattern: str, change: Callable[[str], str]) -> None:
    (path,) = copy.glob(pattern)
    text = path.read_text()
    changed = change(text)
    assert changed != text, f"{pattern} has no place for the example"
    path.write_text(changed)


def before(mark: str, added: str, indent: str = "") -> Callable[[str], str]:
    return lambda text: text.replace(mark, textwrap.indent(added, indent) + mark, 1)


def row_before(name: str, row: str) -> Callable[[str], str]:
    return before(f"| `{name}`", f"{row.strip()}\n")


def at_the_end(added: str, indent: str = "") -> Callable[[str], str]:
    return lambda text: f"{text.rstrip()}\n\n{textwrap.indent(added, indent)}"


def run(copy: Path, *command: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(copy)}
    ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]


def lint(copy: Path) -> None:
    for command in (
        ["ruff", "format", "--check", "--quiet", "."],
        ["ruff", "check", "--quiet", "."],
        ["lint-imports", "--no-cache"],
        ["basedpyright"],
    ):
        run(copy, *command)


def run_tests(copy: Path, *paths: str) -> None:
    run(copy, sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *paths)


@pytest.mark.long
def test_a_route_is_added_as_the_example_says(copy: Path) -> None:
    query, handler, row, test = blocks("Add a route")
    edit(copy, "backend/domains/voices/queries.sql", at_the_end(query))
    edit(copy, "backend/domains/voices/routes.py", at_the_end(handler, "    "))
    edit(copy, "README.md", row_before("GET /api/voices", row))
    edit(copy, "tests/end_to_end/test_moves.py", lambda text: f"{text}\n\n{test}")
    lint(copy)
    run_tests(copy, "tests/project", "tests/end_to_end/test_moves.py")


@pytest.mark.long
def test_a_queue_is_added_as_the_example_says(copy: Path) -> None:
    queue, sender, handler, entry, *rows, address, test = blocks("Add a queue")
    edit(copy, "supabase/migrations/*_queues.sql", before("  ('voice_clone_process',", queue, "  "))
    edit(copy, "supabase/migrations/*[0-9]_sweep.sql", before("    return 'expired';", sender, "    "))
    (copy / "backend/lifecycle/upload_expired.py").write_text(handler)
    edit(copy, "backend/app/queues.py", before("]\nQUEUES =", entry.rstrip() + ",\n", "    "))
    imported = "from backend.lifecycle.upload_expired import log_expired_upload\n"
    edit(copy, "backend/app/queues.py", before("from backend.lifecycle.verification", imported))
    for path, name, row in zip(
        ("docs/lifecycle.md", "README.md", "docs/reference.md"),
        ("voice_checks", "POST /internal/voice-clone-attempts/{id}/verify", "upload_refused"),
        rows,
        strict=True,
    ):
        edit(copy, path, row_before(name, row))
    edit(copy, "tests/queue_consumers/test_http_queues.py", before("}\nSTEPS =", address, "    "))
    edit(copy, "tests/backend/test_draining.py", lambda text: f"{text}\n\n{test}")
    lint(copy)
    run_tests(
        copy, "tests/project", "tests/queue_consumers", "tests/database", "tests/backend/test_draining.py"
    )
