"""A pooler between here and Postgres, and in which mode: LISTEN and prepared statements need a session."""

from collections.abc import Iterator
from typing import Literal

import psycopg

from backend.checks.database import connect
from backend.checks.findings import Finding, good
from backend.settings.database import DatabaseSettings

Mode = Literal["none", "session", "transaction"]
ROUNDS = 5  # of a pooler that others use too, not each shows its mode
MEANS = (
    "LISTEN does not work there, so consumers poll, event streams read late, and nothing of a session is kept"
)


def mode_of(url: str) -> Mode:
    """In transaction mode, two clients at the same time have one process of Postgres, or one client has two
    after each other. A pooler in any mode tells a process id of its own."""
    with connect(url) as one, connect(url) as other:
        served = [(process_of(one), process_of(other)) for _ in range(ROUNDS)]
        if len(set(served)) > 1 or served[0][0] == served[0][1]:
            return "transaction"
        return "none" if one.pgconn.backend_pid == served[0][0] else "session"


def process_of(connection: psycopg.Connection) -> int:
    row = connection.execute("select pg_backend_pid()").fetchone()
    assert row is not None  # noqa: S101 - select
    return row[0]


def check_poolers(settings: DatabaseSettings, mode: Mode, listens: Mode) -> Iterator[Finding]:
    """The modes of DATABASE_URL, and of the address for LISTEN."""
    if settings.listen_url and listens == "transaction":
        yield Finding(
            part="pooler",
            found=f"LISTEN_DATABASE_URL is that of a pooler in transaction mode: {MEANS}",
            remedy="Set it to a direct address, or to the pooler's port for session mode (5432 on Supabase)",
        )
    elif mode == "transaction" and settings.listen_url:
        yield good("pooler", "in transaction mode; LISTEN_DATABASE_URL has a session for LISTEN")
    elif mode == "transaction":
        yield Finding(
            part="pooler",
            state="warning",
            found=f"DATABASE_URL is that of a pooler in transaction mode, such as PgBouncer: {MEANS}",
            remedy="Set LISTEN_DATABASE_URL to a direct address, or to the pooler's port for session mode",
        )
    elif mode == "session":
        yield good("pooler", "in session mode")
    if mode == "transaction" and settings.prepare_threshold is not None:
        yield Finding(
            part="pooler",
            found="DATABASE_URL is that of a transaction pooler, and DATABASE_PREPARE_THRESHOLD is set",
            remedy="Leave DATABASE_PREPARE_THRESHOLD empty",
        )
