"""One request to Postgres a transaction: scope, statement and end travel together, and RLS decides."""

from typing import Any

import msgspec
import psycopg
from psycopg import AsyncClientCursor, AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from backend.database.connections import checkout
from backend.database.queries import load_queries
from scripts.local.supabase.storage.errors import from_database
from scripts.local.supabase.storage.tokens import RequestUser

Row = dict[str, Any]

# The role is local to the transaction, and so are the claims that auth.uid() and the policies read.
SCOPE = """
begin;
select set_config('role', %(scope_role)s, true),
       set_config('request.jwt.claims', %(scope_claims)s, true),
       set_config('storage.operation', %(scope_operation)s, true),
       set_config('storage.allow_delete_query', 'true', true);
"""
SCOPE_RESULTS = 2
queries = load_queries(__file__)


async def configure(connection: AsyncConnection) -> None:
    await connection.set_autocommit(True)  # the scope says `begin` itself


def create_pool(dsn: str) -> AsyncConnectionPool:
    """While Postgres is away a request fails after two seconds, and the next one connects again."""
    return AsyncConnectionPool(
        dsn, min_size=2, max_size=16, timeout=2.0, reconnect_timeout=4.0, open=False, configure=configure
    )


async def run(
    pool: AsyncConnectionPool,
    caller: RequestUser,
    operation: str,
    query: str,
    *,
    keep: bool = True,
    **values: Any,
) -> list[Row]:
    """The rows of a named query, run as the caller; with `keep=False` it is only tried and rolled back.

    Raises:
        LocalStorageError: what Postgres refused, in the hosted server's words.
    """
    scope = {
        "scope_role": caller.role,
        "scope_claims": msgspec.json.encode(caller.claims).decode(),
        "scope_operation": operation,
    }
    script = f"{SCOPE}{getattr(queries, query)};\n{'commit' if keep else 'rollback'}"
    try:
        async with checkout(pool) as connection:
            return await run_script(connection, script, scope | values)
    except psycopg.Error as error:
        raise from_database(error) from error


async def run_script(connection: AsyncConnection, script: str, values: dict[str, Any]) -> list[Row]:
    async with AsyncClientCursor(connection, row_factory=dict_row) as cursor:
        try:
            await cursor.execute(script.encode(), values)
            for _ in range(SCOPE_RESULTS):
                cursor.nextset()
            return await cursor.fetchall() if cursor.description else []
        except psycopg.Error:
            if not connection.broken:
                await connection.rollback()
            raise
