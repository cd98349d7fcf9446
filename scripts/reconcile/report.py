"""What a comparison found: one JSON object a line, or tables. Nothing is kept of what is printed already."""

import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import msgspec
from rich.console import Console

from scripts.operations import Row, draw

SHOWN = 1000  # findings in the tables; --json prints all


class Report:
    """`add` prints a finding as it comes (JSON) or keeps the first thousand for the tables."""

    def __init__(self, *, as_json: bool, named: Collection[str] = ()) -> None:
        """`named`: kinds of findings that are no fault of ours, and are only named."""
        self._named = named
        self.counts: Counter[str] = Counter()  # findings, by their kind
        self.compared = 0
        self.repaired = 0
        self.faults: dict[str, str] = {}  # what could not be compared, and why
        self._as_json = as_json
        self._kept: list[Row] = []

    @property
    def found(self) -> int:
        """How many findings are a fault of ours."""
        return sum(count for finding, count in self.counts.items() if finding not in self._named)

    def add(self, findings: Sequence[Row]) -> None:
        self.counts.update(each["finding"] for each in findings)
        if self._as_json:
            for each in findings:
                sys.stdout.write(msgspec.json.encode(each).decode() + "\n")
            sys.stdout.flush()
        else:
            self._kept += findings[: SHOWN - len(self._kept)]

    def progress(self, what: str) -> None:
        sys.stderr.write(f"{what}: {self.compared} compared, {self.counts.total()} findings\n")

    def finish(self, columns: Sequence[str], meanings: Mapping[str, str], *, applied: bool) -> None:
        """The tables, or the last line of JSON: {"compared", "findings": {kind: count}, "faults"}."""
        if self._as_json:
            end = {"compared": self.compared, "findings": self.counts, "faults": self.faults}
            sys.stdout.write(msgspec.json.encode(end).decode() + "\n")
        else:
            self._draw(columns, meanings, applied=applied)
        for what, why in self.faults.items():
            sys.stderr.write(f"{what} could not be compared: {why}\n")

    def _draw(self, columns: Sequence[str], meanings: Mapping[str, str], *, applied: bool) -> None:
        console = Console()
        draw(console, "Findings", ("finding", *columns), self._kept)
        if (left := self.counts.total() - len(self._kept)) > 0:
            console.print(f"{left} more: --json prints all.")
        for finding, count in sorted(self.counts.items()):
            console.print(f"{finding}: {count}. {meanings[finding]}", markup=False, highlight=False)
        console.print(f"{self.compared} compared.", highlight=False)
        if self.counts and not applied:
            console.print("Nothing was changed. Add --apply to repair what can be repaired.")
