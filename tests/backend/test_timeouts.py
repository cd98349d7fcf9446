"""Timeouts of the connections to Postgres, and a deadlock: there is an answer, and the pool recovers."""

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from backend.database.connections import WarmPool, checkout
from backend.database.pool import Database as Pool
from backend.database.timeouts import Timeouts
from backend.errors import DatabaseUnavailable
from backend.settings.database import DatabaseSettings
from tests.clusters import Database
from tests.queue_consumers.conftest import until

SHOWN = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
TABLE = """
create table public.rows as select n, 0 as writes from generate_series(1, 2) n;
grant all on public.rows to public
"""
WRITE_BOTH = """
do $$ begin
  update public.rows set writes = writes + 1 where n = 1;
  update public.rows set writes = writes + 1 where n = 2;
end $$
"""


def test_the_login_has_timeouts_without_the_service(database: Database) -> None:
    with psycopg.connect(database.service) as connection:
        shown = [connection.execute(f"show {name}".encode()).fetchone() for name in SHOWN]
    assert shown == [("15s",), ("2s",), ("15s",)]


async def test_each_connection_of_the_pool_has_the_timeouts_of_the_settings(database: Database) -> None:
    settings = DatabaseSettings(url=database.superuser, statement_timeout=7, lock_timeout=0.5)
    async with Pool(settings) as pool:
        shown = [await pool.fetch_value(f"show {name}", of=str) for name in SHOWN]
    assert shown == ["7s", "500ms", "7s"]


async def test_a_statement_that_takes_too_long_is_answered_unavailable(database: Database) -> None:
    settings = DatabaseSettings(url=database.service, statement_timeout=0.1, pool_size=1)
    async with Pool(settings) as pool:
        with pytest.raises(DatabaseUnavailable) as caught:
            await pool.execute("select pg_sleep(60)")
        assert caught.value.retry_after
        assert await pool.fetch_value("select 1", of=int) == 1


async def test_a_locked_row_is_answered_unavailable(database: Database) -> None:
    with psycopg.connect(database.superuser) as other:
        other.execute(TABLE.encode())
        other.commit()
        other.execute("select from public.rows for update")
        async with Pool(DatabaseSettings(url=database.service, lock_timeout=0.1)) as pool:
            with pytest.raises(DatabaseUnavailable, match="again"):
                await pool.execute(WRITE_BOTH)
            other.rollback()
            await pool.execute(WRITE_BOTH)


async def test_an_idle_transaction_is_ended(database: Database) -> None:
    async with Pool(DatabaseSettings(url=database.service, statement_timeout=0.1, pool_size=1)) as pool:
        with pytest.raises(DatabaseUnavailable):
            await idle_in_transaction(pool)
        assert await pool.fetch_value("select 1", of=int) == 1


async def idle_in_transaction(pool: Pool) -> None:
    async with pool.transaction() as transaction:
        await transaction.execute("select 1")
        await asyncio.wait_for(closed(transaction.connection), 30)


async def closed(connection: psycopg.AsyncConnection[Any]) -> None:
    """Until the server has ended the session."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(connection.fileno(), ended.set)
    try:
        await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(connection.fileno())


async def test_a_server_process_that_is_frozen_costs_one_connection(database: Database) -> None:
    async with WarmPool(database.service, min_size=1, max_size=1, kwargs={"autocommit": True}) as pool:
        pool.timeouts = Timeouts(statement=0.5, answer=0.5)
        async with checkout(pool) as connection:
            frozen = connection.info.backend_pid
        os.kill(frozen, signal.SIGSTOP)
        try:
            with pytest.raises(psycopg.OperationalError):
                async with asyncio.timeout(30), checkout(pool) as connection:
                    await connection.execute("select 1")
            async with asyncio.timeout(30), checkout(pool) as connection:
                assert connection.info.backend_pid != frozen
        finally:
            os.kill(frozen, signal.SIGCONT)


async def test_the_loser_of_a_deadlock_runs_again(database: Database) -> None:
    with psycopg.connect(database.superuser) as other, ThreadPoolExecutor(1) as thread:
        other.execute(TABLE.encode())
        other.execute(f"alter database {database.name} set deadlock_timeout = '1s'".encode())
        other.commit()
        other.execute("set deadlock_timeout = '1h'")  # so that the service is the one that loses
        async with Pool(DatabaseSettings(url=database.service, lock_timeout=30)) as pool:
            other.execute("update public.rows set writes = writes + 1 where n = 2")
            writing = asyncio.create_task(pool.execute(WRITE_BOTH))
            await until(lambda: other.execute("select 1 from pg_locks where not granted").fetchone())
            update = b"update public.rows set writes = writes + 1 where n = 1"
            await asyncio.get_running_loop().run_in_executor(thread, other.execute, update)
            other.commit()
            await writing
        assert other.execute("select writes from public.rows order by n").fetchall() == [(2,), (2,)]
        deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
        other.execute("select pg_stat_force_next_flush()")
        assert other.execute(deadlocks).fetchone() != (0,)
