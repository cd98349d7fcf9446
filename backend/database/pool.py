"""The only place that opens transactions and commits.

Three ways to run SQL, all with the same methods: `database` (each statement on its own, as the service),
`database.as_caller(caller)` (each on its own, under the caller's row level security), and
`async with database.transaction() as transaction` (several statements, committed at the end).

Each runs in a share of the pool: `database` in that of writes; `database.reads`, `database.steps` and
`database.revocations` are the same database in the others.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from typing import Any, Self, TypeVar, overload

import msgspec
import psycopg
from psycopg import AsyncClientCursor, AsyncConnection, AsyncCursor
from psycopg.abc import QueryNoTemplate as Query
from psycopg.errors import DeadlockDetected, SerializationFailure
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composed, Literal
from psycopg.types.json import set_json_dumps, set_json_loads

from backend.database.caller import Caller
from backend.database.connections import WarmPool, checkout, sending_in_trace, session_options
from backend.database.shares import share_pool
from backend.database.timeouts import Timeouts
from backend.errors import DatabaseUnavailable, from_postgres
from backend.settings.database import DatabaseSettings
from backend.telemetry.traces import message_traceparent

T = TypeVar("T")
Parameters = Sequence[Any] | Mapping[str, Any]
Row = dict[str, Any]
Sql = str | bytes | SQL | Composed
Connection = AsyncConnection[Row]

REPEAT_SECONDS = (0.05, 0.2)
RECONNECT_SECONDS = (
    4.0  # then the next request connects again at once, instead of waiting for a growing backoff
)

SET_RLS_CONTEXT = SQL(
    "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', {}, true)"
)


class Statements(ABC):
    """Rows are converted to the given type, usually a Struct; JSON columns become nested Structs."""

    @abstractmethod
    async def _run(self, sql: Sql, parameters: Parameters | None) -> tuple[list[Row], int]:
        """The rows, and how many rows the statement affected."""

    @overload
    async def fetch_all(self, sql: Sql, parameters: Parameters | None = None) -> list[Row]: ...
    @overload
    async def fetch_all(self, sql: Sql, parameters: Parameters | None, row: type[T]) -> list[T]: ...
    @overload
    async def fetch_all(self, sql: Sql, parameters: Parameters | None = None, *, row: type[T]) -> list[T]: ...
    async def fetch_all(self, sql: Sql, parameters: Parameters | None = None, row: Any = None) -> list[Any]:
        rows, _ = await self._run(sql, parameters)
        return rows if row is None else msgspec.convert(rows, list[row])

    @overload
    async def fetch_one(self, sql: Sql, parameters: Parameters | None = None) -> Row | None: ...
    @overload
    async def fetch_one(self, sql: Sql, parameters: Parameters | None, row: type[T]) -> T | None: ...
    @overload
    async def fetch_one(
        self, sql: Sql, parameters: Parameters | None = None, *, row: type[T]
    ) -> T | None: ...
    async def fetch_one(self, sql: Sql, parameters: Parameters | None = None, row: Any = None) -> Any:
        """The first row, if there is one."""
        rows, _ = await self._run(sql, parameters)
        if not rows:
            return None
        return rows[0] if row is None else msgspec.convert(rows[0], row)

    async def fetch_value(self, sql: Sql, parameters: Parameters | None = None, *, of: type[T]) -> T | None:
        """The first column of the first row; None also where it is null."""
        rows, _ = await self._run(sql, parameters)
        value = next(iter(rows[0].values())) if rows else None
        return None if value is None else msgspec.convert(value, of)

    async def execute(self, sql: Sql, parameters: Parameters | None = None) -> int:
        """How many rows the statement affected."""
        _, count = await self._run(sql, parameters)
        return count


async def repeat_once(run: Callable[[], Awaitable[T]]) -> T:
    """`run` is one transaction: it runs again if a deadlock or a conflict with another rolled it back.

    A moment later, so that the other one has the rows first.
    """
    try:
        return await run()
    except DatabaseUnavailable as error:
        if not isinstance(error.__cause__, SerializationFailure | DeadlockDetected):
            raise
    await asyncio.sleep(random.uniform(*REPEAT_SECONDS))  # noqa: S311 - spreads load, guards nothing
    return await run()


class Database(Statements):
    """A pool of autocommit connections that reconnects by itself when Postgres is back."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._pool = WarmPool[Connection](
            settings.url,
            kwargs={**session_options(settings, "likeness"), "row_factory": dict_row},
            min_size=min(2, settings.pool_size),
            max_size=settings.pool_size,
            timeout=settings.timeout,
            reconnect_timeout=RECONNECT_SECONDS,
            configure=configure_json,
            open=False,
        )
        self._pool.timeouts = Timeouts(settings.statement_timeout, settings.lock_timeout)
        self._shares = share_pool(settings.pool_size, settings.timeout)
        self.share = self._shares["writes"]

    def _in_share(self, name: str) -> Self:
        other = copy(self)
        other.share = self._shares[name]
        return other

    @property
    def reads(self) -> Self:
        """For statements that wait for no row."""
        return self._in_share("reads")

    @property
    def steps(self) -> Self:
        """For the work that messages request."""
        return self._in_share("steps")

    @property
    def revocations(self) -> Self:
        return self._in_share("revocations")

    @property
    def pool(self) -> WarmPool[Connection]:
        """For the queue runtime, whose transactions also acknowledge messages."""
        return self._pool

    async def __aenter__(self) -> Self:
        await self._pool.open(wait=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    def as_caller(self, caller: Caller) -> "CallerStatements":
        return CallerStatements(self.reads, caller)

    @asynccontextmanager
    async def transaction(
        self, caller: Caller | None = None, owner: object = None
    ) -> AsyncIterator["Transaction"]:
        """Commits when the block ends, rolls back when it raises; a caller's row level security applies."""
        async with self.connection(owner) as connection:
            await begin(connection, caller)
            try:
                yield Transaction(connection)
            except BaseException:
                if not connection.broken:
                    await connection.rollback()
                raise
            if connection.info.transaction_status is TransactionStatus.INERROR:
                await connection.rollback()
                raise RuntimeError("A statement of this transaction failed, and its error was swallowed.")
            await connection.commit()

    @asynccontextmanager
    async def connection(self, owner: object = None) -> AsyncIterator[Connection]:
        """Raises driver errors as AppErrors where they are mapped. `owner`: whose rows change, if any do."""
        try:
            async with self.share.turn(owner), checkout(self._pool) as connection:
                yield connection
        except psycopg.Error as error:
            raise from_postgres(error) from error

    async def _run(self, sql: Sql, parameters: Parameters | None) -> tuple[list[Row], int]:
        async def run_once() -> tuple[list[Row], int]:
            async with self.connection(owner_of(parameters)) as connection:
                return await run(connection, sql, parameters, message_traceparent())

        return await repeat_once(run_once)


class Transaction(Statements):
    """Statements on one connection, inside one transaction. `connection` is there for COPY and pipelines."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def _run(self, sql: Sql, parameters: Parameters | None) -> tuple[list[Row], int]:
        return await run(self.connection, sql, parameters)


class CallerStatements(Statements):
    """Each statement under a caller's row level security, in one message to the server.

    Several statements in one simple query are one implicit transaction: role and claims are set for it and
    gone with it, and nothing is left to commit. A simple query has no parameters, so they are quoted here.
    """

    def __init__(self, database: Database, caller: Caller) -> None:
        self._database = database
        self._caller = caller

    async def _run(self, sql: Sql, parameters: Parameters | None) -> tuple[list[Row], int]:
        return await repeat_once(lambda: self._run_once(sql, parameters))

    async def _run_once(self, sql: Sql, parameters: Parameters | None) -> tuple[list[Row], int]:
        async with self._database.connection() as connection:
            cursor = AsyncClientCursor(connection, row_factory=dict_row)
            statement = cursor.mogrify(as_query(sql), parameters)
            await cursor.execute(
                f"{set_rls_context(self._caller).as_string(connection)}; {statement}".encode()
            )
            while cursor.nextset():
                pass
            return await rows_of(cursor), cursor.rowcount


def owner_of(parameters: Parameters | None) -> object:
    return parameters.get("user") if isinstance(parameters, Mapping) else None


async def run(
    connection: Connection, sql: Sql, parameters: Parameters | None, traceparent: str | None = None
) -> tuple[list[Row], int]:
    cursor = AsyncCursor(connection, row_factory=dict_row)
    async with sending_in_trace(connection, traceparent):
        await cursor.execute(as_query(sql), parameters)
    return await rows_of(cursor), cursor.rowcount


async def rows_of(cursor: AsyncCursor[Row]) -> list[Row]:
    """Empty for a statement without rows. Reading `description` would describe each column every time."""
    return [] if cursor.rownumber is None else await cursor.fetchall()


def as_query(sql: Sql) -> Query:
    return sql.encode() if isinstance(sql, str) else sql


async def begin(connection: Connection, caller: Caller | None) -> None:
    """One round trip, with a caller or without."""
    opening = SQL("begin; {}").format(set_rls_context(caller)) if caller else SQL("begin")
    if traceparent := message_traceparent():
        opening += SQL("; select set_config('voice_clone.traceparent', {}, true)").format(
            Literal(traceparent)
        )
    await AsyncClientCursor(connection).execute(opening)


def set_rls_context(caller: Caller) -> Composed:
    return SET_RLS_CONTEXT.format(Literal(caller.claims))


async def configure_json(connection: Connection) -> None:
    set_json_loads(msgspec.json.decode, connection)
    set_json_dumps(msgspec.json.encode, connection)


def required(row: T | None) -> T:
    """The row, or value, of a function that returns one or raises."""
    assert row is not None  # noqa: S101
    return row
