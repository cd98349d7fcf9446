"""Every invariant holds; and its check fails once the invariant is taken away."""

import psycopg
import pytest

from tests.database.invariants import INVARIANTS, MUTANTS
from tests.world import World


@pytest.mark.parametrize("number", INVARIANTS)
def test_the_invariant_holds(world: World, number: int) -> None:
    check, _ = INVARIANTS[number]
    check(world)
    assert world.service.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


@pytest.mark.parametrize("number", INVARIANTS)
def test_the_check_fails_without_the_invariant(world: World, number: int) -> None:
    check, remove = INVARIANTS[number]
    remove(world)
    with pytest.raises((AssertionError, psycopg.Error, pytest.fail.Exception)):
        check(world)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_check_finds_every_other_mutant(world: World, name: str) -> None:
    number, mutate = MUTANTS[name]
    mutate(world)
    with pytest.raises((AssertionError, psycopg.Error, pytest.fail.Exception)):
        INVARIANTS[number][0](world)
