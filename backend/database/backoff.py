"""Exponential backoff with full jitter: a random delay up to a bound that doubles."""

import random


def full_jitter(tries: int, base: float, cap: float) -> float:
    """Seconds to wait after this try; the first try is 1."""
    return random.uniform(0, min(cap, base * 2 ** min(tries - 1, 30)))  # noqa: S311 - spreads load, guards nothing


class Backoff:
    """Counts the consecutive failures of one connection or loop."""

    def __init__(self, base: float = 0.1, cap: float = 5.0) -> None:
        self._base = base
        self._cap = cap
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next_delay(self) -> float:
        self._failures += 1
        return full_jitter(self._failures, self._base, self._cap)
