"""A function that acts for a user refuses the objects of another, and shows nothing of them."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.database.access import calls
from tests.database.access.calls import Connection, Objects
from tests.fixture import Fixture

pytestmark = pytest.mark.one_postgres


@pytest.fixture
def objects(given: Fixture) -> Objects:
    return Objects(given)


@pytest.fixture
def superuser(objects: Objects, given: Fixture) -> Iterator[Connection]:
    with psycopg.connect(given.database.superuser) as connection:
        yield connection
        connection.rollback()


def test_each_function_that_acts_for_a_user_gives_a_stranger_nothing(
    superuser: Connection, objects: Objects
) -> None:
    assert calls.without_a_call(superuser) == []
    assert list(calls.differences(superuser, objects)) == []


def test_a_function_without_a_written_call_is_named(superuser: Connection) -> None:
    superuser.execute("create function voice_clone.look(p_user uuid) returns int language sql return 1")
    found = calls.without_a_call(superuser)
    assert [line.split()[0] for line in found] == ["voice_clone.look"]


def test_each_comparison_with_the_caller_that_is_removed_is_found(
    superuser: Connection, objects: Objects
) -> None:
    survivors: list[str] = []
    for name, source in calls.mutants(superuser):
        with superuser.transaction(force_rollback=True):
            superuser.execute(source.encode())
            if not any(calls.differences(superuser, objects)):
                survivors.append(name)
    assert set(survivors) == set(calls.EQUIVALENT)
