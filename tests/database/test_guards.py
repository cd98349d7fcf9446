"""Each guard of the SQL functions has a test that fails without it.

Some are taken away in each run, all in the long one.
"""

import pytest

from tests.database.guards.catalog import guards
from tests.database.guards.removal import LEDGER, read_ledger
from tests.fixture import Fixture

pytestmark = pytest.mark.one_postgres
HUNT = "`python -m tests.database.guards.hunt` looks for a test; write the one that it does not find"


def test_each_guard_has_a_test_that_fails_without_it(given: Fixture) -> None:
    found, ledger = guards(given.superuser), read_ledger()
    assert sorted(found.keys() - ledger.keys()) == [], HUNT
    assert sorted(ledger.keys() - found.keys()) == [], f"these guards are gone: {LEDGER.name}"


def test_an_entry_names_a_test_or_says_why_there_is_none() -> None:
    for key, entry in read_ledger().items():
        assert bool(entry.test) != bool(entry.because), key
        if entry.test:
            file, _, name = entry.test.partition("::")
            source = LEDGER.parent.with_name(file).read_text()
            assert f"def {name.partition('[')[0]}(" in source, key
