"""Faults to inject: which call they meet, and what they do to it."""

import random
from typing import Literal

from msgspec import Struct

FaultName = Literal[
    "latency",  # answers after `seconds`
    "throttled",  # 429, with Retry-After where `retry_after` is given
    "internal_error",  # 500
    "unavailable",  # 503
    "bad_gateway",  # 502 from a gateway, as HTML
    "reset",  # the connection is reset
    "hang",  # no answer until released, or until the client leaves
    "garbled",  # 200 with a body that is no JSON and no audio
    "list_lag",  # a new voice is listed only after `seconds`, or after `lists` list calls
    "slots_full",
    "verification_required",  # with `polls`, decided by itself after so many; else by the control endpoint
    "expired_url",
    "wrong_key",
    "wrong_region",
    "redirect",  # Twilio: to the address in `message`
    "oversize",  # Twilio: a body without an end
    "error",  # the vendor's envelope with `status`, `code` and `message`
]


class Fault(Struct, kw_only=True, forbid_unknown_fields=True):
    """Meets calls to `operation` whose label, voice id or text holds `match`; `times` null means always.

    `after_commit` lets the call have its effect first, for those faults that hide an answer. `refused` is
    how a verification that decides itself ends.
    """

    provider: str
    fault: FaultName
    operation: str = "*"
    times: int | None = 1
    probability: float = 1.0
    match: str | None = None
    after_commit: bool = False
    seconds: float = 0.0
    lists: int = 0
    polls: int | None = None
    refused: bool = False
    retry_after: float | None = None
    status: int = 400
    code: str = ""
    message: str = ""

    def meets(self, provider: str, operation: str, subject: str) -> bool:
        return (
            self.provider in ("*", provider)
            and self.operation in ("*", operation)
            and (self.match is None or self.match in subject)
            and self.times != 0
        )


class Faults:
    def __init__(self) -> None:
        self.pending: list[Fault] = []
        self._random = random.Random(0)  # noqa: S311 (the same faults in each run)

    def take(self, provider: str, operation: str, subject: str) -> list[Fault]:
        """The faults this call meets, each used once."""
        met = []
        for fault in self.pending:
            if fault.meets(provider, operation, subject) and self._random.random() < fault.probability:
                fault.times = None if fault.times is None else fault.times - 1
                met.append(fault)
        self.pending = [fault for fault in self.pending if fault.times != 0]
        return met
