"""The Retry-After header: what is honoured, what is capped, and what is ignored."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import cast

import pytest

from backend.lifecycle.claim import Step, waiting_delay
from backend.providers.base import ErrorKind, ProviderError
from backend.queues.acknowledgement import whole_seconds
from backend.web.retry_after import MAX_RETRY_AFTER, retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("1.5", 1.5),
        (" 7 ", 7.0),
        ("31536000", MAX_RETRY_AFTER),
        ("999999999999", MAX_RETRY_AFTER),
        ("Sat, 21 Nov 2026 00:00:00", 0.0),
    ],
)
def test_seconds_and_dates_are_read_and_capped(value: str, seconds: float) -> None:
    assert retry_after({"retry-after": value}) == seconds


@pytest.mark.parametrize(("days", "seconds"), [(365, MAX_RETRY_AFTER), (-365, 0.0)])
def test_dates_around_now_are_read_and_capped(days: int, seconds: float) -> None:
    value = format_datetime(datetime.now(UTC) + timedelta(days=days))
    assert retry_after({"retry-after": value}) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "", "-5", "nan", "NaN", "inf", "-inf", "1e9", "1_000", "0x10", "+3", ".5", "5.", "1.2.3",
        "\u00b2", "\u0663",        "9" * 13, "9" * 5000, "soon", "1 2",
        "Sat, 99 Nov 2026 00:00:00 GMT", "Fri, 31 Dec 99999 23:59:59 GMT",
        "7, 7", "\x00",
    ],
)  # fmt: skip
def test_garbage_is_ignored(value: str) -> None:
    assert retry_after({"retry-after": value}) is None


def test_a_response_without_the_header_says_nothing() -> None:
    assert retry_after({}) is None


@pytest.mark.parametrize(
    ("seconds", "whole"),
    [(0, 0), (0.2, 1), (7, 7), (-3, 0), (1e300, 300), (float("inf"), 300), (float("nan"), 0)],
)
def test_an_outcomes_delay_is_bounded(seconds: float, whole: int) -> None:
    assert whole_seconds(seconds, 300) == whole


@pytest.mark.parametrize("told", [1e300, float("inf"), 31_536_000.0])
def test_a_step_never_waits_longer_for_a_provider_than_the_cap(told: float) -> None:
    error = ProviderError(
        ErrorKind.THROTTLED, "provider_throttled", "Busy.", provider="qwen", retry_after=told
    )
    step = cast(Step, SimpleNamespace(work=SimpleNamespace(waiting_seconds=0.0)))
    assert waiting_delay(step, error) <= MAX_RETRY_AFTER
