"""No operation of a user or a worker reads a large table whole, not even before its first analyze."""

import contextlib
import random

import psycopg
import pytest
from psycopg import sql

from tests.database.operation import Situation
from tests.database.operation_situations import STATES, situation
from tests.database.operations import OPERATIONS
from tests.database.test_plans import FILL
from tests.fixture import Fixture

pytestmark = pytest.mark.one_postgres

MANY = 1500  # rows
FILLED = ("public.voice_clone_attempts", "public.reflections", "auth.users")
# The operator's, once in a while: each looks through everything.
OF_ALL = {"take_down", "lift_takedown", "import_legacy_voices", "withdraw voices"}
READ = """
select format('%s.%s', schemaname, relname) as table_name from pg_stat_xact_user_tables
where schemaname in ('public', 'voice_clone', 'auth') and seq_tup_read >= %s
"""


def tables_read_whole(given: Fixture, role: str, statement: str, about: Situation) -> set[str]:
    with psycopg.connect(given.database.dsn(role)) as connection:
        with contextlib.suppress(psycopg.Error), connection.transaction():
            connection.execute(statement.encode(), about)
        found = {name for (name,) in connection.execute(READ.replace("%s.%s", "%%s.%%s").encode(), (MANY,))}
        connection.rollback()
    return found


@pytest.fixture
def filled(given: Fixture) -> Fixture:
    user = given.user()
    given.superuser.execute(
        "insert into auth.users (id) select gen_random_uuid() from generate_series(1, 3000)"
    )
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(FILL, {"user": user})
    for table in FILLED:
        statement = sql.SQL("select count(*) as count from {}").format(sql.SQL(table))
        assert given.truth(statement.as_string())["count"] > MANY
    return given


def test_no_operation_reads_a_large_table_whole(filled: Fixture) -> None:
    situations: dict[str, Situation] = {}
    found = {}
    for operation in OPERATIONS:
        state = random.choice(operation.states or ["launched", "failed", "processing"])
        about = situations.setdefault(state, {}) or situation(filled, STATES[state])
        situations[state] = about
        if tables := tables_read_whole(filled, operation.role, operation.sql, about):
            found[operation.name] = tables
    assert {name: tables for name, tables in found.items() if name not in OF_ALL} == {}
