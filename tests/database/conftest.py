"""Tests of the database: on the packaged versions of Postgres, and some without a guard."""

import random

import pytest

from tests.clusters import Database, kinds_of
from tests.database.guards.removal import WANTED, add_removals, read_ledger, remove_guard

A_DAY = 16  # guards that the ordinary run removes, others each day; the long one removes all


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """On the packaged versions of Postgres that are asked for, unless a test is marked `one_postgres`."""
    if metafunc.definition.get_closest_marker("one_postgres"):
        return
    if "cluster" in metafunc.fixturenames and (kinds := kinds_of(metafunc)):
        metafunc.parametrize("cluster", kinds.values(), ids=list(kinds), indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out the long ones
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (wanted := config.stash.get(WANTED, None)) is not None:  # the hunt
        add_removals(items, wanted, frozenset(wanted))
        return
    tests = {key: [entry.test] for key, entry in read_ledger().items() if entry.test}
    of_the_day = random.Random(config.getoption("lifecycle_seed"))
    add_removals(items, tests, frozenset(of_the_day.sample(sorted(tests), min(A_DAY, len(tests)))))


@pytest.fixture
def database(request: pytest.FixtureRequest, database: Database) -> Database:
    for removed in request.node.iter_markers("without_guard"):
        remove_guard(database, removed.args[0])
    return database
