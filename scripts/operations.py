"""Calls of the functions of schema `operations`: by DATABASE_URL, or by the Data API with the secret key."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

import httpx
import psycopg
import typer
from postgrest import APIError, SyncPostgrestClient
from psycopg import sql
from psycopg.rows import scalar_row
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

TIMEOUT_SECONDS = 30
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")  # as Postgres writes it in JSON
NOTHING_SET = (
    "set SUPABASE_URL and SUPABASE_SECRET_KEY, or DATABASE_URL: "
    "postgresql://voice_clone_service:…@host:5432/postgres"
)

NO_RIGHT = (
    "This login may not do that, as that of the service. Run the command with DATABASE_URL= (empty), and it"
    " uses SUPABASE_URL and SUPABASE_SECRET_KEY; or give it the login of the owner."
)

Row = dict[str, Any]  # of a function that returns a table: by the name of the column


class Operations(Protocol):
    def rows(self, function: str, **parameters: Any) -> list[Row]:
        """Of a function that returns a table."""
        ...

    def value(self, function: str, **parameters: Any) -> Any:
        """Of a function that returns one jsonb."""
        ...


class ByDatabase:
    """Each call is a transaction."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def rows(self, function: str, **parameters: Any) -> list[Row]:
        named = [
            sql.SQL("{} => {}").format(sql.Identifier(f"p_{name}"), sql.Placeholder(name))
            for name in parameters
        ]
        query = sql.SQL("select to_jsonb(r) from operations.{}({}) r").format(
            sql.Identifier(function), sql.SQL(", ").join(named)
        )
        return self._connection.cursor(row_factory=scalar_row).execute(query, parameters).fetchall()

    def value(self, function: str, **parameters: Any) -> Any:
        return self.rows(function, **parameters)[0]


class ByDataApi:
    def __init__(self, client: SyncPostgrestClient) -> None:
        self._client = client

    def rows(self, function: str, **parameters: Any) -> list[Row]:
        return self.value(function, **parameters)

    def value(self, function: str, **parameters: Any) -> Any:
        named = {f"p_{name}": value for name, value in parameters.items()}
        return self._client.rpc(function, named).execute().data


@contextmanager
def operations(fault: int = 1) -> Iterator[Operations]:
    """Ends the command: with `fault` where the project refuses or is away, with 2 where nothing is set."""
    url, key = os.environ.get("SUPABASE_URL"), os.environ.get("SUPABASE_SECRET_KEY")
    try:
        if database := os.environ.get("DATABASE_URL"):
            with psycopg.connect(database, autocommit=True, connect_timeout=10) as connection:
                yield ByDatabase(connection)
        elif url and key:
            with SyncPostgrestClient(
                f"{url.rstrip('/')}/rest/v1",
                schema="operations",
                headers={"apikey": key, "Authorization": f"Bearer {key}"},
                timeout=TIMEOUT_SECONDS,
                retry_enabled=False,
            ) as client:
                yield ByDataApi(client)
        else:
            raise typer.BadParameter(NOTHING_SET)
    except psycopg.errors.InsufficientPrivilege as error:
        end(f"The database refused: {error}\n{NO_RIGHT}", fault)
    except psycopg.Error as error:
        end(f"The database refused: {error}", fault)
    except APIError as error:
        end(f"The Data API refused: {error.message} ({error.code}). Is schema `operations` exposed?", fault)
    except httpx.HTTPError as error:
        end(f"The Data API of {url} cannot be reached: {error}", fault)


def refusal(error: psycopg.Error | APIError) -> tuple[str, str]:
    """SQLSTATE and detail of what the database refused, whichever way it was asked."""
    if isinstance(error, APIError):
        return error.code or "", error.details or ""
    return error.sqlstate or "", error.diag.message_detail or ""


def end(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    sys.exit(code)


def draw(console: Console, title: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    if not rows:
        console.print(f"{title}: none.")
        return
    table = Table(*map(uncut, columns), title=title, title_justify="left")
    for row in rows:
        table.add_row(*(plain(row.get(column)) for column in columns))
    console.print(table)


def uncut(name: str) -> Column:
    """Ids are pasted into the next command, so they stay whole, and narrower columns are folded."""
    return Column(name, no_wrap=name == "id" or name.endswith("_id"), overflow="fold")


def plain(value: object) -> str:
    """A cell. A time is shown to the second, in UTC."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, str) and TIME.match(value):
        return f"{datetime.fromisoformat(value).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    return "" if value is None else escape(str(value))
