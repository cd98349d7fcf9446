"""The examples of CONTRIBUTING, followed to the letter in a copy of the checkout: their tests pass."""

import re
import shlex
import subprocess
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from scripts.migrations import ROOT
from tests.checkouts import copied_checkout
from tests.project.documents import section
from tests.runbooks.runbook import FENCE

INSTALLED = (".venv", "node_modules")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """With the packages that are installed here."""
    for installed in INSTALLED:
        (tmp_path / installed).symlink_to(ROOT / installed)
    return copied_checkout(tmp_path, whole=True)


def example(heading: str) -> tuple[list[str], list[list[str]]]:
    """Its blocks of code, and the targets of `make` at its end."""
    text = section(ROOT / "CONTRIBUTING.md", heading)
    targets = re.findall(r"^\d\. `make (.*)`, then `make (.*)`\.$", text, re.MULTILINE)[0]
    blocks = [textwrap.dedent(block) for _, block in FENCE.findall(text)]
    return blocks, [shlex.split(each) for each in targets]


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


def make(copy: Path, targets: Sequence[Sequence[str]]) -> None:
    kept = [f"--old-file={each}/installed" for each in INSTALLED]  # whatever the age of the copied lock files
    for target in targets:
        ended = subprocess.run(
            ["make", *kept, *target], cwd=copy, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]


@pytest.mark.long
def test_a_route_is_added_as_the_example_says(copy: Path) -> None:
    (query, handler, row, test), targets = example("Add a route")
    edit(copy, "backend/domains/voices/queries.sql", at_the_end(query))
    edit(copy, "backend/domains/voices/routes.py", at_the_end(handler, "    "))
    edit(copy, "README.md", row_before("GET /api/voices", row))
    edit(copy, "tests/end_to_end/test_moves.py", lambda text: f"{text}\n\n{test}")
    make(copy, targets)


@pytest.mark.long
def test_a_queue_is_added_as_the_example_says(copy: Path) -> None:
    (queue, sender, handler, entry, *rows, address, test), targets = example("Add a queue")
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
    make(copy, targets)
