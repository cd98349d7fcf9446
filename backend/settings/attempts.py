"""Settings of attempts: samples, previews, leases and limits."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, field

from backend.settings.sections import Count, Section


class AttemptSettings(Section, frozen=True, kw_only=True):
    preview_required: bool = field(name="PREVIEW_REQUIRED", default=True)
    finalize_wait: Annotated[float, Meta(ge=0)] = field(name="FINALIZE_WAIT_SECONDS", default=10.0)
    max_sample_bytes: Count = field(name="MAX_SAMPLE_BYTES", default=10_485_760)
    lease_seconds: Count = field(name="LEASE_SECONDS", default=60)
    per_day: Annotated[int, Meta(ge=0)] = field(name="ATTEMPTS_PER_DAY", default=100)  # of one user; 0: any
    # samples that one user sends by themselves; 0: any
    samples_per_day: Annotated[int, Meta(ge=0)] = field(name="SAMPLES_PER_DAY", default=100)
    max_jobs: Count = field(name="MAX_JOBS", default=50)
    max_jobs_per_user: Count = field(name="MAX_JOBS_PER_USER", default=4)

    # lookups of voices at their provider, in one account; a list is read once a round
    voice_checks_per_minute: Count = field(name="VOICE_CHECKS_PER_MINUTE", default=60)

    def problems(self) -> Iterator[str]:
        if self.max_jobs_per_user > self.max_jobs:
            yield "MAX_JOBS_PER_USER is more than MAX_JOBS"
