"""What the documents say: their tables, and the commands in their code."""

import re
from pathlib import Path

from scripts.migrations import ROOT

DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)


def section(path: Path, heading: str) -> str:
    """From a heading of the second level to the next."""
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", path.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found, f"{path.name} has no section {heading!r}"
    return found[1]


def table_rows(text: str) -> list[list[str]]:
    """The cells of every row, without the heads of the tables. A cell may have an escaped `|`."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rulers = [set("".join(row)) == {"-"} for row in rows]
    heads = [*rulers[1:], False]
    return [row for row, ruler, head in zip(rows, rulers, heads, strict=True) if not ruler and not head]


def code_of(path: Path) -> list[str]:
    """The fenced blocks and the inline code of a document."""
    return [block or inline for block, inline in CODE.findall(path.read_text())]


def inline_code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)
