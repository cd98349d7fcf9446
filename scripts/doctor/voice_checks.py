"""Checks of voices, as the database knows them: is each account's round complete, and did one stop?"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from backend.checks.findings import Finding, good

PART = "voice checks"
RUNBOOK = "docs/runbooks/answer-a-lost-voice.md has each reason"


class VoiceChecksState(Struct, frozen=True):
    """Of an account. `age_seconds`: since its last complete round began. `error_code`: why a try stopped."""

    provider: str
    region: str
    voices: int
    age_seconds: float
    error_code: str | None
    is_late: bool
    silent: int  # of its last complete round

    @property
    def place(self) -> str:
        return f"{self.provider} {self.region}".strip()


def judge_voice_checks(accounts: Sequence[VoiceChecksState]) -> Iterator[Finding]:
    wrong = [each for each in accounts if each.error_code or each.is_late]
    for each in wrong:
        why = each.error_code or "no consumer handled it"
        yield Finding(
            part=PART,
            state="warning",
            found=f"the {each.voices} voices at {each.place} were last checked "
            f"{each.age_seconds / 3600:.0f} hours ago: {why}",
            remedy=RUNBOOK,
        )
    for each in accounts:
        if each.silent:
            yield Finding(
                part=PART,
                state="warning",
                found=f"{each.silent} voices at {each.place} are silent:"
                " they did not speak when they were made to, or may be deleted there as unused",
                remedy=RUNBOOK,
            )
    if not wrong:
        yield good(PART, f"{sum(each.voices for each in accounts)} voices of {len(accounts)} accounts")
