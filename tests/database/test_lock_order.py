"""The lock order: user, consents, reflection, legacy events, attempts, samples, voices, and so on (PLACES).

Each operation runs into locks on all rows of one table after the other. While it waits, it may hold rows of
earlier tables only. So no two operations wait for each other, and a new one need only be added to the table.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.database.operation import Operation, Situation
from tests.database.operation_situations import STATES, situation
from tests.database.operations import OPERATIONS
from tests.fixture import Fixture

pytestmark = pytest.mark.one_postgres

PLACES = (
    "auth.users",
    "consents",
    "public.reflections",
    "voice_clone.legacy_events",
    "public.voice_clone_attempts",
    "public.voice_samples",
    "public.voices",
    "public.speech_jobs",
    "voice_clone.enrollments",
    "voice_clone.deadlines",
)
# Nothing deletes a sample, so the lock that the foreign key of an attempt takes on it waits for nothing.
MODES = {"public.voice_samples": "no key update"}
LOCK_CONSENTS = "select pg_advisory_xact_lock(hashtextextended('consents:' || %s::text, 0))"
HAS_CONSENTS = "select not pg_try_advisory_xact_lock(hashtextextended('consents:' || %s::text, 0)) as held"
# What cancels many attempts goes from one's deadline to the next one's enrollment. Each is waited for under
# the lock of its attempt only; who locks a deadline alone (renew_lease) waits for nothing else.
LAST = ("voice_clone.enrollments", "voice_clone.deadlines")
USUAL_STATES = ("processing", "verifying", "launched", "failed")


def lock(given: Fixture, place: str, about: Situation) -> None:
    if place == "auth.users":  # as the deletion of this user does
        given.superuser.execute("select from auth.users where id = %s for update", (about["user"],))
    elif place == "consents":
        given.superuser.execute(LOCK_CONSENTS, (about["user"],))
    else:
        given.superuser.execute(f"select from {place} for {MODES.get(place, 'update')}".encode())


def held(given: Fixture, place: str, about: Situation) -> bool:
    """Whether another transaction has a lock there."""
    if place == "consents":
        return given.truth(HAS_CONSENTS, about["user"])["held"]
    free = f"select from {place} for {MODES.get(place, 'update')} skip locked"
    count = f"select count(*) > (select count(*) from ({free}) free) as held from {place}"  # noqa: S608
    return given.truth(count)["held"]


class Runner:
    """Runs an operation on a connection of its own, which rolls back."""

    def __init__(self, given: Fixture, operation: Operation) -> None:
        dsn = given.database.dsn(operation.role)
        self.connection = psycopg.connect(dsn, autocommit=True, options="-c lock_timeout=0")
        self._sql = operation.sql.encode()

    def run(self, parameters: Situation) -> None:
        with self.connection.transaction(force_rollback=True):
            self.connection.execute(self._sql, parameters)

    def waits(self, given: Fixture, done: Future[Any]) -> bool:
        """True once it waits for a lock, False once it has ended."""
        deadline = time.monotonic() + 30
        blocked = "select cardinality(pg_blocking_pids(%s)) > 0 as waits"
        while time.monotonic() < deadline:
            if wait([done], timeout=0.002).done:
                return False
            if given.one(blocked, self.connection.info.backend_pid)["waits"]:
                return True
        raise AssertionError("it neither ends nor waits")


@contextmanager
def runner(given: Fixture, operation: Operation) -> Iterator[Runner]:
    made = Runner(given, operation)
    try:
        yield made
    finally:
        made.connection.close()


def wrong_orders(given: Fixture, operation: Operation, about: Situation) -> list[tuple[str, str, str]]:
    """(operation, where it waits, what it holds there already and should not)."""
    found = []
    with runner(given, operation) as running, ThreadPoolExecutor(1) as pool:
        for number, place in enumerate(PLACES):
            with given.superuser.transaction(force_rollback=True):
                lock(given, place, about)
                done = pool.submit(running.run, about)
                if running.waits(given, done):
                    later = [each for each in PLACES[number + 1 :] if (place, each) != LAST]
                    later = [each for each in later if held(given, each, about)]
                    found += [(operation.name, place, each) for each in later]
            error = done.exception()
            assert error is None or str(getattr(error, "sqlstate", "")).startswith("VC"), error
    return found


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_that_waits_holds_earlier_locks_only(given: Fixture, operation: Operation) -> None:
    found = []
    for state in operation.states or USUAL_STATES:
        found += wrong_orders(given, operation, situation(given, STATES[state]))
    assert set(found) == set()


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_that_waits_holds_earlier_locks_only_in_every_state(
    given: Fixture, operation: Operation
) -> None:
    found = []
    for state in STATES.values():
        found += wrong_orders(given, operation, situation(given, state))
    assert set(found) == set()


def test_a_wrong_order_is_found(given: Fixture) -> None:
    given.replace("voice_clone.silence", "perform voice_clone.lock_attempts", "perform cardinality")
    operation = next(each for each in OPERATIONS if each.name == "delete_voice")
    found = wrong_orders(given, operation, situation(given, STATES["launched"]))
    assert found == [
        ("delete_voice", "public.voice_clone_attempts", "public.voice_samples"),
        ("delete_voice", "public.voice_clone_attempts", "public.voices"),
    ]
