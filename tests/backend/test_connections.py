"""The pool lends what is warm."""

import asyncio

from backend.connections import WarmPool
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
