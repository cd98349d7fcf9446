"""Settings of a create call at a provider: how long it may take, and when its voice must have appeared."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, field

from backend.settings.sections import Seconds, Section


class EnrollmentSettings(Section, frozen=True, kw_only=True):
    """The same for each provider."""

    create_seconds: Seconds = field(name="PROVIDER_CREATE_SECONDS", default=120.0)
    listing_lag_seconds: Annotated[float, Meta(ge=0)] = field(
        name="PROVIDER_LISTING_LAG_SECONDS", default=15.0
    )
    # after the intent of a create; then a voice that the provider does not list counts as never made
    enrollment_settle_seconds: Seconds = field(name="ENROLLMENT_SETTLE_SECONDS", default=150.0)

    def problems(self) -> Iterator[str]:
        if self.create_seconds + self.listing_lag_seconds >= self.enrollment_settle_seconds:
            yield (
                f"ENROLLMENT_SETTLE_SECONDS ({self.enrollment_settle_seconds:g}) must be more than"
                f" PROVIDER_CREATE_SECONDS ({self.create_seconds:g}) plus PROVIDER_LISTING_LAG_SECONDS"
                f" ({self.listing_lag_seconds:g}), or a voice that appears late counts as never made"
            )
