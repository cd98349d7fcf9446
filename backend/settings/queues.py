"""Settings of the queue runtime, for the consumers and for the service's drain alike."""

from typing import Annotated

from msgspec import Meta, field

from backend.settings.sections import Count, Seconds, Section


class QueueSettings(Section, frozen=True, kw_only=True):
    visibility_seconds: Count = field(name="VISIBILITY_SECONDS", default=30)
    deadline_seconds: Seconds = field(name="DEADLINE_SECONDS", default=300.0)  # for one message
    budget: Count = field(name="MESSAGE_BUDGET", default=16)  # tries before a message is a dead letter
    retry_base_seconds: Annotated[float, Meta(ge=0)] = field(name="RETRY_BASE_SECONDS", default=1.0)
    retry_cap_seconds: Seconds = field(name="RETRY_CAP_SECONDS", default=300.0)
    # how long a message waits for a service that is away before its tries count
    outage_seconds: Seconds = field(name="OUTAGE_SECONDS", default=86_400.0)
