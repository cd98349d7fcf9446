"""Findings: why a sample is not accepted, and warnings about one that is.

A finding says what was measured, what is required, and what would help.
"""

from backend.audio.inspection_frames import Inspection
from backend.domains.samples.imperfections import imperfections
from backend.domains.samples.refusals import MIN_SAMPLE_RATE, Finding, check
from backend.providers.base import Limits

__all__ = ["MIN_SAMPLE_RATE", "Finding", "check", "warnings"]


def warnings(inspection: Inspection, limits: Limits) -> list[Finding]:
    """What makes the voice worse, although the sample passes. Nothing that `check` refuses is repeated."""
    refused = {finding.code for finding in check(inspection, limits)}
    return [finding for finding in imperfections(inspection) if finding.code not in refused]
