"""A transaction that Postgres rolled back for another one's sake runs again, once."""

from uuid import uuid4

import psycopg
import pytest

from backend.database.caller import Caller
from backend.database.pool import Database as Pool
from backend.errors import DatabaseUnavailable
from backend.settings.database import DatabaseSettings
from tests.backend.faults import raising
from tests.clusters import Database


async def test_a_statement_after_a_deadlock_or_a_conflict_runs_again_once(database: Database) -> None:
    with psycopg.connect(database.superuser, autocommit=True) as connection:
        connection.execute("create sequence public.tries; grant usage on sequence public.tries to public")
    async with Pool(DatabaseSettings(url=database.service)) as pool:
        for state in ("40P01", "40001"):
            fails_first = (
                f"do $$ begin if nextval('public.tries') % 2 = 1 then"
                f" raise exception 'Not now.' using errcode = '{state}'; end if; end $$"
            )
            await pool.execute(fails_first)
            await pool.execute("select nextval('public.tries')")
            await pool.execute("select nextval('public.tries')")
            await pool.as_caller(Caller(uuid4(), "{}", "")).execute(fails_first)
        with pytest.raises(DatabaseUnavailable):
            await pool.execute(raising("40P01"))
