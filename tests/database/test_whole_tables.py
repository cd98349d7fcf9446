"""No operation of a user or a worker reads a large table whole, not even before its first analyze."""

import contextlib
import random

import psycopg
import pytest

from tests.database.operation import Situation
from tests.database.operation_situations import STATES, situation
from tests.database.operations import OPERATIONS
from tests.database.test_plans import FILL
from tests.fixture import Fixture

pytestmark = pytest.mark.one_postgres

MANY = 1500  # rows
FILLED = ("public.voice_clone_attempts", "public.reflections", "auth.users")
# An operator's, once in a while: each reads everything.
OF_OPERATORS = {"take_down", "lift_takedown", "import_legacy_voices"}
READ = """
select schemaname || '.' || relname from pg_stat_xact_user_tables
where schemaname in ('public', 'voice_clone', 'auth') and seq_tup_read >= %s
"""


def tables_read_whole(given: Fixture, role: str, statement: str, about: Situation) -> set[str]:
    with psycopg.connect(given.database.dsn(role)) as connection:
        with contextlib.suppress(psycopg.Error), connection.transaction():
            connection.execute(statement.encode(), about)
        found = {name for (name,) in connection.execute(READ.encode(), (MANY,))}
        connection.rollback()
    return found


@pytest.fixture
def filled(given: Fixture) -> Fixture:
    user = given.user()
    for table in FILLED:  # no analyze in the background either
        given.superuser.execute(f"alter table {table} set (autovacuum_enabled = off)".encode())
    given.superuser.execute(
        "insert into auth.users (id) select gen_random_uuid() from generate_series(1, 3000)"
    )
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(FILL, {"user": user})
    for table in FILLED:
        assert given.truth(f"select count(*) from {table}")["count"] > MANY  # noqa: S608
    return given


def test_no_operation_reads_a_large_table_whole(filled: Fixture) -> None:
    situations: dict[str, Situation] = {}
    found = {}
    for operation in OPERATIONS:
        if operation.name in OF_OPERATORS:
            continue
        state = random.choice(operation.states or ["launched", "failed", "processing"])
        if state not in situations:
            situations[state] = situation(filled, STATES[state])
        if tables := tables_read_whole(filled, operation.role, operation.sql, situations[state]):
            found[operation.name] = tables
    assert found == {}
