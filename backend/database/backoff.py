"""Backoff with full jitter: a random delay up to a bound that grows with the failures, or with an outage."""

import random
import time

NEWS_SECONDS = 60.0


def full_jitter(tries: int, base: float, cap: float) -> float:
    """Seconds to wait after this try; the first try is 1."""
    return random.uniform(0, min(cap, base * 2 ** min(tries - 1, 30)))  # noqa: S311 - spreads load, guards nothing


def outage_delay(
    lasted: float, retry_after: float | None = None, *, base: float = 2.0, cap: float = 300.0
) -> float:
    """Seconds to wait where something has been away for `lasted` seconds: short at first, then in proportion.

    `retry_after` is the least, where the other side says how long.
    """
    if retry_after is not None:
        return max(retry_after, random.uniform(0, min(cap, lasted / 2)))  # noqa: S311
    return random.uniform(0, min(cap, max(base, lasted / 2)))  # noqa: S311


class Backoff:
    """Counts the consecutive failures of one connection or loop."""

    def __init__(self, base: float = 0.1, cap: float = 5.0) -> None:
        self._base = base
        self._cap = cap
        self._failures = 0
        self._said_at = 0.0

    def reset(self) -> None:
        self._failures = 0

    def next_delay(self) -> float:
        self._failures += 1
        return full_jitter(self._failures, self._base, self._cap)

    def is_news(self) -> bool:
        """Whether the failure is worth a line in the log: the first is, and then one in a minute."""
        now = time.monotonic()
        if self._failures > 1 and now - self._said_at < NEWS_SECONDS:
            return False
        self._said_at = now
        return True
