"""What its user can do about a sample that failed, or that waits."""

from collections.abc import Sequence

from backend.domains.samples.preparation import HELP, WAV_OR_MP3
from backend.domains.samples.refusals import Finding

WAITS = "Nothing: it is tried again by itself."
AGAIN = "Send the sample again."
# Of what is found before anything is measured, and of what is no fault of the sample.
WITHOUT_MEASURES = {
    **HELP,
    "invalid_format": WAV_OR_MP3,
    "sample_too_large": "Send a shorter sample, or an MP3.",
    "spoken_sample_differs": "Sign another spoken consent, with this sample.",
    "inspection_timed_out": "Send a shorter sample, or another file.",
    "inspection_failed": "Send another file.",
}


def sample_advice(code: str, findings: Sequence[Finding], *, has_failed: bool) -> str:
    """Each code has an advice: that of its finding, where it was measured."""
    if not has_failed:
        return WAITS
    of_finding = (finding.help for finding in findings if finding.code == code)
    return next(of_finding, None) or WITHOUT_MEASURES.get(code, AGAIN)
