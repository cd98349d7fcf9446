"""The lifecycle holds in every order of events; a mutant without an invariant is found."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.clusters import Database
from tests.database.invariants import INVARIANTS
from tests.fixture import Fixture
from tests.lifecycle.checks import BrokenError
from tests.lifecycle.machine import Lifecycle
from tests.lifecycle.snapshot import Bench

ORDINARY = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40,
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
HUNT = settings(ORDINARY, max_examples=400, phases=[Phase.generate], report_multiple_bugs=False)
LONG = settings(ORDINARY, derandomize=False, max_examples=200, stateful_step_count=100)


@pytest.fixture
def bench(database: Database) -> Iterator[Bench]:
    made = Bench(database)
    yield made
    made.close()


def run(bench: Bench, how: settings) -> None:
    class OnBench(Lifecycle):
        def __init__(self) -> None:
            super().__init__(bench)

    run_state_machine_as_test(OnBench, settings=how)


def test_the_lifecycle_holds_in_every_order(bench: Bench) -> None:
    run(bench, ORDINARY)


@pytest.mark.long
def test_the_lifecycle_holds_in_thousands_of_orders(bench: Bench) -> None:
    run(bench, LONG)
    assert bench.steps >= 10_000


@pytest.mark.parametrize("number", INVARIANTS)
def test_the_loss_of_an_invariant_is_found(bench: Bench, database: Database, number: int) -> None:
    _, remove = INVARIANTS[number]
    given = Fixture(database)
    remove(given)
    given.close()
    with pytest.raises(BrokenError, match=f"invariant {number} is broken"):
        run(bench, HUNT)
