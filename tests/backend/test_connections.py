"""The pool: which connection is checked out, and that it is never a dead one."""

import asyncio

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from backend.database.connections import WarmPool, checkout
from tests.clusters import Database


async def test_the_most_recently_returned_connection_is_checked_out_first(database: Database) -> None:
    async with WarmPool(database.service, min_size=3, max_size=3) as pool:
        await pool.wait()
        connections = [await pool.getconn() for _ in range(3)]
        for connection in connections:
            await pool.putconn(connection)
        for _ in range(5):
            async with pool.connection() as connection:
                assert connection is connections[-1]
        assert [await pool.getconn() for _ in range(3)] == connections[::-1]
        for connection in connections:
            await pool.putconn(connection)


async def test_every_connection_is_used_under_load(database: Database) -> None:
    async with WarmPool(database.service, min_size=1, max_size=4) as pool:

        async def process_id() -> int:
            async with pool.connection() as connection:
                cursor = await connection.execute("select pg_backend_pid(), pg_sleep(0.05)")
                return (await cursor.fetchall())[0][0]

        assert len(set(await asyncio.gather(*(process_id() for _ in range(40))))) == 4


async def test_a_connection_that_died_while_idle_is_not_checked_out(database: Database) -> None:
    async with AsyncConnectionPool(
        database.service, min_size=4, kwargs={"autocommit": True}, open=False
    ) as pool:
        await pool.wait()
        with psycopg.connect(database.superuser, autocommit=True) as superuser:
            ended = superuser.execute(
                """
                select pg_terminate_backend(pid, 5000) from pg_stat_activity
                where usename = 'voice_clone_service' and datname = current_database()
                """
            )
            assert ended.rowcount == 4
        async with checkout(pool) as connection:
            await connection.execute("select 1")


async def test_a_task_cancelled_as_its_connection_arrives_is_cancelled(database: Database) -> None:
    """A renewal that misses its cancellation holds the lease after its step has ended."""
    used = []

    async def use() -> None:
        async with checkout(pool) as connection:
            used.append(connection)

    async with AsyncConnectionPool(
        database.service, min_size=1, max_size=1, kwargs={"autocommit": True}, open=False
    ) as pool:
        connection = await pool.getconn()
        waiting = asyncio.create_task(use())
        while not pool.get_stats().get("requests_waiting"):  # noqa: ASYNC110 - the pool has no event for it
            await asyncio.sleep(0)
        await pool.putconn(connection)  # the waiting task has the connection now, and did not run yet
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert used == []
        async with checkout(pool) as again:
            assert again is connection
