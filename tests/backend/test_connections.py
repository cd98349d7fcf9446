"""The pool lends what is warm, and nothing that died."""

import asyncio

import psycopg
from psycopg_pool import AsyncConnectionPool

from backend.database.connections import WarmPool, checkout
from tests.clusters import Database


async def test_the_connection_that_came_back_last_is_lent_first(database: Database) -> None:
    async with WarmPool(database.service, min_size=3, max_size=3) as pool:
        await pool.wait()
        lent = [await pool.getconn() for _ in range(3)]
        for connection in lent:
            await pool.putconn(connection)
        for _ in range(5):
            async with pool.connection() as connection:
                assert connection is lent[-1]
        assert [await pool.getconn() for _ in range(3)] == lent[::-1]
        for connection in lent:
            await pool.putconn(connection)


async def test_all_are_lent_at_once(database: Database) -> None:
    async with WarmPool(database.service, min_size=1, max_size=4) as pool:

        async def ask() -> int:
            async with pool.connection() as connection:
                cursor = await connection.execute("select pg_backend_pid(), pg_sleep(0.05)")
                return (await cursor.fetchall())[0][0]

        assert len(set(await asyncio.gather(*(ask() for _ in range(40))))) == 4


async def test_what_died_while_it_idled_is_not_lent(database: Database) -> None:
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
