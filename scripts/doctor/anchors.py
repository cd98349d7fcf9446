"""Anchors of the consents, as the database knows them: is each published, and is one broken?"""

from collections.abc import Iterator

from msgspec import Struct

from backend.checks.findings import Finding, good

PART = "consents"
PATIENCE = 3 * 3600.0  # seconds; by default a consent is anchored after an hour


class AnchorsState(Struct, frozen=True):
    """`waiting_seconds`: of the oldest consent without a published anchor; null: anchors are switched off."""

    waiting_seconds: float | None
    anchors: int
    unpublished: int
    error_code: str | None
    broken: int


def judge_anchors(state: AnchorsState) -> Iterator[Finding]:
    if state.broken:
        yield Finding(
            part=PART,
            found=f"{state.broken} consents or anchors are not as they were written",
            remedy="`likeness consents verify` names each; docs/runbooks/verify-the-consents.md",
        )
    if state.waiting_seconds is None:
        yield good(PART, "anchors are switched off")
    elif state.error_code or state.waiting_seconds > PATIENCE:
        yield Finding(
            part=PART,
            state="warning",
            found=f"{state.unpublished} anchors are not published, for {state.waiting_seconds:.0f} seconds: "
            f"{state.error_code or 'no consumer handled them'}",
            remedy="docs/runbooks/verify-the-consents.md has each reason",
        )
    elif not state.broken:
        yield good(PART, f"{state.anchors} anchors, {state.unpublished} on their way")
