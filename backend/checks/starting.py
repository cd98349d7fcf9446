"""The start of a process: all faults at once, and no process that cannot work."""

import sys
from collections.abc import Mapping, Sequence
from typing import Literal

from backend.checks.findings import Check, Finding, run_checks
from backend.web.logs import log

Process = Literal["service", "consumers"]


def require_no_fault(process: Process, problems: Sequence[str], checks: Sequence[Check]) -> list[Finding]:
    """What the checks found. Exits with every fault, of the settings too, if one prevents the start."""
    findings = run_checks(checks)
    if problems or any(each.prevents_start for each in findings):
        faults = [*problems, *(str(each) for each in findings if each.state == "fault")]
        sys.exit("\n".join([f"The {process} cannot start:", *(f"  - {fault}" for fault in faults)]))
    return findings


def report_faults(findings: Sequence[Finding]) -> None:
    """One line for each fault that may pass by itself."""
    for each in findings:
        if each.state == "fault":
            log.warning("not_working_yet", part=each.part, found=each.found, help=each.remedy)


def found_parts(findings: Sequence[Finding]) -> Mapping[str, str]:
    """What is well, by part."""
    return {each.part: each.found for each in findings if each.state == "ok"}
