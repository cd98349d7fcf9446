"""`python -m tests.database.guards.hunt` finds for each guard a test that fails without it.

A run with counters in the functions says which tests reach a guard. Those then run on databases without it,
until one fails; guards.json keeps its name. An entry is not tried again; --all tries every guard. What is
left over is printed: it needs a test.
"""

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
import psycopg
import pytest

from scripts.migrations import ROOT
from tests.clusters import DEFAULT, Database, cloned_database, started_cluster
from tests.database.guards.catalog import Guard, guards
from tests.database.guards.plpgsql import tokens
from tests.database.guards.removal import WANTED, Entry, plain_id, read_ledger, write_ledger

FOLDER = ROOT / "tests" / "database"
CACHE = ROOT / ".local" / "cache" / "reached.json"
# Tests of mutants, of races and of plans: a failure of theirs says nothing about the guard.
OTHERS = ("mutants", "move_guards", "strangers", "races", "lock_order", "plans", "hot_updates")
OF_MUTANTS = "not without and not finds"
BROAD = ("test_invariants", "test_refusals", "test_employee_refusals", "test_row_level_security")
Reached = dict[str, list[str]]  # tests by counter
ROUNDS = ((0, 6), (6, 20), (20, 60))  # so many tests are tried for a guard
MOST = ROUNDS[-1][1]


class Counters:
    """A plugin of pytest: puts counters into the functions of the cluster, and reads them after each test.

    A sequence keeps its value when the transaction of the guard is rolled back.
    """

    def __init__(self) -> None:
        self.reached: Reached = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        made = yield
        if fixturedef.argname == "cluster":
            with psycopg.connect(made.dsn(), autocommit=True) as superuser:
                add_counters(superuser)
        return made

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Function) -> None:
        database, name = item.funcargs.get("database"), plain_id(item)
        if isinstance(database, Database) and name:
            with psycopg.connect(database.superuser) as superuser:
                for (counter,) in superuser.execute(
                    "select sequencename from pg_sequences"
                    " where schemaname = 'counters' and last_value is not null"
                ):
                    self.reached.setdefault(counter, []).append(name)


class Hunt:
    """A plugin of pytest: runs the tests without a guard alone, and each guard until a test fails."""

    def __init__(self, wanted: dict[str, list[str]]) -> None:
        self.wanted = wanted
        self.found: dict[str, str] = {}

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[WANTED] = self.wanted

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.get_closest_marker("without_guard")]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if key_of(item) in self.found:
            pytest.skip("a test fails without this guard")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        """Only the test itself counts: what its fixtures need says nothing about the guard."""
        report: Any = yield
        if report.when == "call" and report.skipped and hasattr(report, "wasxfail"):
            self.found.setdefault(key_of(item), original(item))
        return report


def key_of(item: pytest.Item) -> str:
    removed = item.get_closest_marker("without_guard")
    assert removed is not None
    return removed.args[0]


def original(item: pytest.Item) -> str:
    return (plain_id(item) or "").removesuffix(f" without {key_of(item)}")


def counters(found: Mapping[str, Guard]) -> dict[str, tuple[str, int]]:
    """(name, place in the body) for each guard: before its statement, or at the beginning of its function."""
    made: dict[str, tuple[str, int]] = {}
    of_functions: dict[str, tuple[str, int]] = {}
    for number, (key, guard) in enumerate(found.items()):
        function = guard.function
        begin = next((each for each in tokens(function.body) if each.text == "begin"), None)
        if guard.without == "null":
            made[key] = f"guard_{number}", guard.start
        elif begin:
            made[key] = of_functions.setdefault(function.signature, (f"function_{number}", begin.end))
    return made


def add_counters(superuser: psycopg.Connection[Any]) -> None:
    found = guards(superuser)
    places: dict[str, set[tuple[int, str]]] = {}
    functions = {guard.function.signature: guard.function for guard in found.values()}
    for key, (counter, at) in counters(found).items():
        places.setdefault(found[key].function.signature, set()).add((at, counter))
    superuser.execute("create schema counters; grant usage on schema counters to public")
    for signature, points in places.items():
        body = functions[signature].body
        for at, counter in sorted(points, reverse=True):
            body = f"{body[:at]} perform pg_catalog.nextval('counters.{counter}'); {body[at:]}"
            superuser.execute(f"create sequence counters.{counter}".encode())
        superuser.execute(functions[signature].with_body(body).encode())
    superuser.execute("grant usage on all sequences in schema counters to public")


def run(plugin: object, *options: str) -> None:
    files = [
        str(path) for path in sorted(FOLDER.glob("test_*.py")) if not any(o in path.name for o in OTHERS)
    ]
    pytest.main(
        [*files, "-n", "0", "-p", "no:cacheprovider", "--tb=no", "-o", "addopts=", *options], [plugin]
    )


def reached_by_tests() -> Reached:
    counting = Counters()
    run(counting, "-m", "not long", "-k", OF_MUTANTS)
    CACHE.write_bytes(msgspec.json.encode(counting.reached))
    return counting.reached


def candidates(found: Mapping[str, Guard], reached: Reached) -> dict[str, list[str]]:
    """For each guard the tests that reach it: those of invariants, those that call its function, the rest."""
    of = counters(found)
    count: dict[str, int] = {}
    for tests in reached.values():
        for test in tests:
            count[test] = count.get(test, 0) + 1
    made: dict[str, list[str]] = {}
    for key, guard in found.items():
        names = {of[key][0]} if key in of else callers(guard, found, of)
        tests = {test for name in names for test in reached.get(name, ())}
        name = guard.function.signature.partition("(")[0]
        made[key] = sorted(tests, key=lambda test: (rank(test, name), count[test], test))[:MOST]
    return made


def rank(test: str, function: str) -> int:
    file = test.partition(".py")[0]
    return 0 if file in BROAD else 1 if function in source(file) else 2


@cache
def source(file: str) -> str:
    return (FOLDER / f"{file}.py").read_text()


def callers(guard: Guard, found: Mapping[str, Guard], of: Mapping[str, tuple[str, int]]) -> set[str]:
    """The counters of the functions that call one in SQL, which has no place for a counter."""
    called = f"{guard.function.signature.partition('(')[0]}("
    return {of[key][0] for key, other in found.items() if key in of and called in other.function.body}


def main() -> None:
    with (
        started_cluster(DEFAULT) as cluster,
        cloned_database(cluster) as database,
        psycopg.connect(database.superuser) as superuser,
    ):
        found = guards(superuser)
    ledger = {} if "--all" in sys.argv else {k: entry for k, entry in read_ledger().items() if k in found}
    left = {key: guard for key, guard in found.items() if key not in ledger}
    if left and "--reached" in sys.argv:
        reached = msgspec.json.decode(CACHE.read_bytes(), type=Reached)
    else:
        reached = reached_by_tests() if left else {}
    tests = candidates(found, reached)
    for first, last in ROUNDS:
        wanted = {key: tests[key][first:last] for key in left if tests[key][first:last]}
        if wanted:
            hunt = Hunt(wanted)
            run(hunt)
            ledger |= {key: Entry(test=test) for key, test in hunt.found.items()}
            left = {key: guard for key, guard in left.items() if key not in ledger}
            write_ledger(ledger)
    write_ledger(ledger)
    for key in left:
        sys.stdout.write(f"{len(tests[key])} tests reach it and none fails without it: {key}\n")


if __name__ == "__main__":
    main()
