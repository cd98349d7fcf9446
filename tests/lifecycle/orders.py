"""Random orders of events against a model that draws them itself, by the seed of the day."""

from collections.abc import Callable

import psycopg
import pytest

from tests.fixture import Fixture


def play_orders(
    play: Callable[[Fixture, int], None], count: int, given: Fixture, request: pytest.FixtureRequest
) -> None:
    """As many orders, one after the other. An AssertionError names the seed of the one that failed."""
    first = int(request.config.getoption("lifecycle_seed") or 0)
    for seed in range(first, first + count):
        try:
            play(given, seed)
        except (AssertionError, psycopg.Error, pytest.fail.Exception) as error:
            raise AssertionError(f"seed {seed}") from error
