"""Exponential back-off with full jitter: any moment up to a bound that doubles."""

import random


def full_jitter(tries: int, base: float, cap: float) -> float:
    """Seconds to wait after that many tries, the first being 1."""
    return random.uniform(0, min(cap, base * 2 ** min(tries - 1, 30)))  # noqa: S311 - spreads load, guards nothing


class Backoff:
    """Counts the failures in a row of one connection or loop."""

    def __init__(self, base: float = 0.1, cap: float = 5.0) -> None:
        self._base = base
        self._cap = cap
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next_delay(self) -> float:
        self._failures += 1
        return full_jitter(self._failures, self._base, self._cap)
