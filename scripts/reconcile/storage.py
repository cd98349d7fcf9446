"""The objects of our private buckets against the rows that name them, page by page, both ways."""

from backend.storage.buckets import (
    EMPLOYEE_FILE_BUCKET,
    PREVIEW_BUCKET,
    RECORDING_BUCKET,
    SAMPLE_BUCKET,
    SPEECH_BUCKET,
)
from scripts.operations import Operations, Row
from scripts.reconcile.report import Report

# Of the others, LOCAL_VOICES and REFERENCE_VOICES are compared by `reconcile voices`, ANCHOR_BUCKET by
# `consents verify`.
COMPARED = (SAMPLE_BUCKET, PREVIEW_BUCKET, SPEECH_BUCKET, RECORDING_BUCKET, EMPLOYEE_FILE_BUCKET)
COLUMNS = ("bucket", "name", "objects", "id")
MEANINGS = {
    "unowned": "A folder that no row uses. --apply requests its removal from Storage.",
    "missing": "A row whose object is gone. --apply ends it as at the end of its retention; a file of an "
    "employee is written again.",
    "foreign": "A name that is not ours, as of the application or of an older layout. It is never touched.",
}
NAMED = frozenset({"foreign"})


def compare_storage(
    project: Operations, report: Report, *, apply: bool, quiet_seconds: float, page: int
) -> None:
    for bucket in COMPARED:
        for side in ("objects", "rows"):
            after = None
            while True:
                found = project.value(
                    "compare_storage",
                    bucket=bucket,
                    side=side,
                    after=after,
                    limit=page,
                    quiet_seconds=quiet_seconds,
                )
                findings: list[Row] = found["findings"]
                report.add(findings)
                report.compared += found["compared"]
                for each in findings if apply else ():
                    repair(project, report, each, quiet_seconds)
                if (after := found["last"]) is None:
                    break
                report.progress(f"{side} of {bucket}")


def repair(project: Operations, report: Report, finding: Row, quiet_seconds: float) -> None:
    """A transaction each: it locks the attempts of a sample."""
    if finding["finding"] not in NAMED:
        report.repaired += bool(
            project.value(
                "repair_storage",
                bucket=finding["bucket"],
                finding=finding["finding"],
                name=finding["name"],
                id=finding.get("id"),
                quiet_seconds=quiet_seconds,
            )
        )
