"""The matrix of access finds each grant, policy and rule that is dropped or widened."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.clusters import Database
from tests.database.access import grants, mutants, rows
from tests.database.access.grants import Connection
from tests.database.access.scene import Scene
from tests.fixture import Fixture

pytestmark = pytest.mark.one_postgres


@pytest.fixture
def superuser(database: Database) -> Iterator[Connection]:
    with psycopg.connect(database.superuser) as connection:
        yield connection
        connection.rollback()


@contextmanager
def rolled_back(connection: Connection, *statements: str) -> Iterator[None]:
    with connection.transaction(force_rollback=True):
        for statement in statements:
            connection.execute(statement.encode())
        yield


def survivors(
    connection: Connection,
    made: Iterator[tuple[str, str]],
    finds: Callable[[Connection, str], Iterator[str]],
) -> list[str]:
    """Each mutant alone, checked where it is."""
    found: list[str] = []
    count = 0
    for name, statement in made:
        count += 1
        with rolled_back(connection, statement):
            if not any(finds(connection, name)):
                found.append(statement)
    assert count > 0
    return found


def test_every_grant_on_a_relation_that_is_dropped_or_added_is_found(superuser: Connection) -> None:
    every = list(mutants.of_relations(superuser))
    of_queues = iter([mutant for mutant in every if mutant[0].startswith("pgmq.")])
    others = iter([mutant for mutant in every if not mutant[0].startswith("pgmq.")])
    assert survivors(superuser, others, grants.relations) == []
    for batch in mutants.batches(of_queues):
        with rolled_back(superuser, *batch.values()):
            found = {line.split(":")[0] for line in grants.relations(superuser)}
            assert [statement for name, statement in batch.items() if name not in found] == []


def test_every_grant_of_a_function_that_is_dropped_or_added_is_found(superuser: Connection) -> None:
    assert survivors(superuser, mutants.of_functions(superuser), grants.functions) == []


def test_every_change_of_a_schema_of_a_role_or_of_a_default_privilege_is_found(superuser: Connection) -> None:
    def finds(connection: Connection, _: str) -> Iterator[str]:
        for check in (grants.schemas, grants.roles, grants.defaults):
            yield from check(connection)

    before = catalog(superuser)
    for statement in mutants.of_schemas_and_roles():
        with rolled_back(superuser, statement):
            assert any(finds(superuser, "")) or catalog(superuser) == before, statement


def catalog(connection: Connection) -> list[object]:
    """What those statements may change; a statement that changes nothing is no mutant."""
    return [
        connection.execute(query).fetchall()
        for query in (
            "select nspname, nspacl::text from pg_namespace order by 1",
            "select rolname, rolbypassrls, rolcreaterole from pg_roles order by 1",
            "select distinct roleid, member from pg_auth_members order by 1, 2",
            "select defaclnamespace, defaclobjtype, defaclacl::text from pg_default_acl order by 1, 2",
        )
    ]


def test_row_level_security_that_is_disabled_is_found_on_every_table(superuser: Connection) -> None:
    names = [
        row["name"] for row in grants.rows(superuser, mutants.queries.relations) if not row["is_sequence"]
    ]
    assert survivors(superuser, mutants.of_row_level_security(names), grants.row_level_security) == []


def test_every_policy_that_is_dropped_widened_or_added_is_found(given: Fixture) -> None:
    scene = Scene(given)
    with rows.everything_granted(scene) as connection:
        tables: dict[str, list[rows.Table]] = {}
        for table in rows.tables(connection):
            tables.setdefault(table.name, []).append(table)

        def finds(connection: Connection, name: str) -> Iterator[str]:
            for table in tables[name]:
                yield from rows.differences(connection, scene, table)

        assert survivors(connection, mutants.of_policies(connection), finds) == []
        of_clients = [name for name in tables if not name.startswith(("pgmq.", "voice_clone."))]
        assert survivors(connection, mutants.of_new_policies(of_clients), finds) == []
        internal = [
            (name, f"create policy mutant on {name} using (true)")
            for name in tables
            if name not in of_clients
        ]
        assert survivors(connection, iter(internal), finds) == []
