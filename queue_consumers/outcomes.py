"""What a handler made of a message."""

from datetime import datetime

from msgspec import Struct


class Done(Struct, frozen=True):
    """Handled. `archived` when the handler archived it itself, in the transaction of its effect."""

    archived: bool = False


class Retry(Struct, frozen=True):
    """Failed for now: read again `after` seconds, or when the back-off says; counts against the budget."""

    after: float | None = None
    reason: str = "retry"


class Cancel(Struct, frozen=True):
    """Never again: archived without an effect."""

    reason: str


class Snooze(Struct, frozen=True):
    """Not yet: read again at `until`; no try is counted."""

    until: datetime


Outcome = Done | Retry | Cancel | Snooze
