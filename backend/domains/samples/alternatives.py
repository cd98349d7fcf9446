"""Alternatives: other providers that could clone the sample of a failed attempt.

They are computed from this service's settings when the attempt is read, and never tried automatically: the
owner decides, with `POST …/voice/retry {provider}`.
"""

from collections.abc import Sequence

from msgspec import structs

from backend.audio.inspection_frames import Inspection
from backend.context import AppContext
from backend.database.caller import Caller
from backend.domains.samples.findings import check
from backend.domains.samples.inspected import InspectedSample, read_inspected
from backend.lifecycle.attempts import Attempt, AttemptRow
from backend.providers.base import Limits

# Failures on our side: another provider would not help.
OURS = frozenset({"internal_error", "storage_unavailable", "worker_lost", "deadline_exceeded"})


def fits(sample: Inspection, language: str | None, limits: Limits) -> bool:
    speaks = limits.languages is None or language in limits.languages
    return speaks and not check(sample, limits)


def alternatives(context: AppContext, attempt: AttemptRow, sample: Inspection | None) -> list[str]:
    """Names of configured providers; empty unless the attempt failed and has an inspected sample."""
    if sample is None or not attempt.has_failed or attempt.error_code in OURS:
        return []
    return sorted(
        name
        for name, provider in context.providers.items()
        if name != attempt.provider and fits(sample, attempt.language, provider.limits)
    )


async def with_alternatives(context: AppContext, caller: Caller, rows: Sequence[AttemptRow]) -> list[Attempt]:
    """The attempts as their owner sees them. One more query, only where an attempt failed."""
    wanted = {row.sample_id for row in rows if row.has_failed and row.sample_id is not None}
    samples = await read_inspected(context, caller, wanted) if wanted else {}
    return [named(context, row, samples.get(row.sample_id) if row.sample_id else None) for row in rows]


def named(context: AppContext, row: AttemptRow, sample: InspectedSample | None) -> Attempt:
    attempt = Attempt.of(row)
    if attempt.error is None:
        return attempt
    others = alternatives(context, row, sample.measures if sample else None)
    return structs.replace(attempt, error=structs.replace(attempt.error, alternatives=others))
