"""Every invariant holds; its check fails on the mutant that removes it."""

import psycopg
import pytest

from tests.database.invariants import INVARIANTS, MUTANTS
from tests.fixture import Fixture


@pytest.mark.parametrize("number", INVARIANTS)
def test_the_invariant_holds(given: Fixture, number: int) -> None:
    check, _ = INVARIANTS[number]
    check(given)
    assert given.service.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


@pytest.mark.parametrize("number", INVARIANTS)
def test_the_check_fails_without_the_invariant(given: Fixture, number: int) -> None:
    check, remove = INVARIANTS[number]
    remove(given)
    with pytest.raises((AssertionError, psycopg.Error, pytest.fail.Exception)):
        check(given)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_check_finds_every_other_mutant(given: Fixture, name: str) -> None:
    number, mutate = MUTANTS[name]
    mutate(given)
    with pytest.raises((AssertionError, psycopg.Error, pytest.fail.Exception)):
        INVARIANTS[number][0](given)
