"""The outcome of handling a message. A step that runs in another process answers it as JSON."""

from msgspec import Struct

SNOOZE_SECONDS = 30.0  # where the handler does not say how long


class Done(Struct, frozen=True, tag_field="outcome", tag="done"):
    """Handled. `acknowledged`: the handler acknowledged the message in the transaction of its effect."""

    reason: str | None = None
    acknowledged: bool = False


class Retry(Struct, frozen=True, tag_field="outcome", tag="retry"):
    """Failed for now: read again after `retry_after` seconds, or after the backoff.

    The try is counted, unless `is_outage`: what the message needs is away, and the message is not at fault.
    """

    retry_after: float | None = None
    reason: str = "retry"
    is_outage: bool = False


class Cancel(Struct, frozen=True, tag_field="outcome", tag="cancel"):
    """Never handle it again: acknowledged without an effect."""

    reason: str = "cancelled"
    acknowledged: bool = False


class Snooze(Struct, frozen=True, tag_field="outcome", tag="snooze"):
    """Not yet: read again after `retry_after` seconds. No try is counted."""

    retry_after: float = SNOOZE_SECONDS
    reason: str | None = None


Outcome = Done | Retry | Cancel | Snooze
