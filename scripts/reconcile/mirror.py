"""Mirrors of reflections and employees against the attempts that were activated last."""

from scripts.operations import Operations
from scripts.reconcile.report import Report

KINDS = ("reflection", "employee")
COLUMNS = ("kind", "id", "attempt_id", "shown", "version")
MEANINGS = {
    "behind": "The mirror shows an older version of the attempt. --apply sends its message.",
    "different": "The same version with other content, as after a change past the guard. "
    "--apply sends its message.",
    "ahead": "The mirror shows a newer version than the attempt has, as after a restore of one table. "
    "The next attempt starts above it; until then nothing changes it.",
}


def compare_mirrors(
    project: Operations, report: Report, *, apply: bool, quiet_seconds: float, page: int
) -> None:
    """Those whose attempt has not changed for a while. --apply sends messages, and writes no mirror."""
    for kind in KINDS:
        after = None
        while True:
            found = project.value(
                "compare_mirrors",
                kind=kind,
                after=after,
                limit=page,
                quiet_seconds=quiet_seconds,
                apply=apply,
            )
            report.add(found["findings"])
            report.compared += found["compared"]
            after = found["last"]
            if after is None:
                break
            report.progress(f"mirrors of {kind}s")
