"""The database: is it reached, is the login accepted, and is its schema the one that this release needs?"""

import re
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import class_row

from backend.checks.findings import Finding, good
from backend.database.connections import CONNECT_SECONDS, KEEPALIVE
from backend.database.probes import NAMED_PARTS, Installation, queries
from backend.database.schema_version import SCHEMA_VERSION, compare_schema
from backend.settings.database import DatabaseSettings

APPLICATION_NAME = "likeness checks"
PUSH = "Push the migrations: `likeness migrate`, or `likeness install` and `supabase db push --include-all`"

# What a server or a pooler says of a login, and does not pass by itself. {login}, {setting}: filled in.
REFUSALS = [
    (
        r"password authentication failed|SASL authentication failed|Wrong password|no password supplied",
        "the login or the password of {login} is refused",
        "Set one as postgres, `alter role voice_clone_service password '…'`, and write it into {setting},"
        " with special characters percent-encoded; the migrations make this role",
    ),
    (
        r"Tenant or user not found|[Tt]enant/user \S+ not found|ENOTFOUND",
        "the pooler does not know {login}",
        "Behind a pooler of Supabase the login in {setting} is voice_clone_service.<project ref>,"
        " and the host is that of the project's region",
    ),
    (
        r'role "[^"]*" does not exist|role "[^"]*" is not permitted to log in',
        "there is no login {login}",
        f"{PUSH}; they make the role voice_clone_service",
    ),
    (
        r'database "[^"]*" does not exist',
        "there is no such database",
        "Correct the name at the end of {setting}; on Supabase it is postgres",
    ),
    (
        r"no pg_hba\.conf entry|does not support SSL|certificate verify failed",
        "the server refuses this kind of connection",
        "Correct sslmode in {setting}; a hosted project needs sslmode=require",
    ),
]  # fmt: skip


def check_database(settings: DatabaseSettings) -> Iterator[Finding]:
    """The connection, the schema and its parts; and the connection for LISTEN where it is another."""
    try:
        with connect(settings.url) as connection:
            yield good("database", describe_connection(connection))
            yield from check_schema(connection)
    except psycopg.Error as error:
        yield refused("DATABASE_URL", settings.url, error)
    if settings.listen_url:
        try:
            connect(settings.listen_url).close()
        except psycopg.Error as error:
            yield refused("LISTEN_DATABASE_URL", settings.listen_url, error)


def connect(url: str) -> psycopg.Connection[Any]:
    """Autocommit, nothing prepared, and no setting of the session, which a pooler would keep."""
    return psycopg.connect(
        url,
        autocommit=True,
        prepare_threshold=None,
        connect_timeout=CONNECT_SECONDS,
        application_name=APPLICATION_NAME,
        tcp_user_timeout=KEEPALIVE["tcp_user_timeout"],
    )


def describe_connection(connection: psycopg.Connection[Any]) -> str:
    info = connection.info
    return f"{info.host}:{info.port}/{info.dbname} as {info.user}"


def refused(setting: str, url: str, error: psycopg.Error) -> Finding:
    """The error of a connection. Its text names host and login, and no password."""
    text = str(error)
    for pattern, found, remedy in REFUSALS:
        if re.search(pattern, text):
            login = conninfo_to_dict(url).get("user") or "(no user)"
            return Finding(
                part="database",
                found=f"{setting}: {found.format(login=login)}",
                remedy=remedy.format(setting=setting),
                prevents_start=True,
            )
    said = text.partition("\n")[0].removeprefix("connection failed: ")
    return Finding(
        part="database",
        found=f"{setting}: {said or type(error).__name__}",
        remedy=f"Compare host and port of {setting} with the project's, and look if Postgres runs",
    )


def check_schema(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    row = connection.execute(queries.is_migrated).fetchone()
    if row is None or not row[0]:
        yield Finding(part="schema", found="the migrations are missing", remedy=PUSH, prevents_start=True)
        return
    try:
        cursor = connection.cursor(row_factory=class_row(Installation))
        found = cursor.execute(queries.installation).fetchone()
    except InsufficientPrivilege as error:
        yield Finding(
            part="schema",
            found=f"{connection.info.user} may not use it: {str(error).partition(chr(10))[0]}",
            remedy="Log in as voice_clone_service, which the migrations make;"
            " where its rights were lost, `grant voice_clone_backend to voice_clone_service`",
            prevents_start=True,
        )
        return
    assert found is not None  # noqa: S101 - a function that returns one row
    yield from check_version(found)


def check_version(found: Installation) -> Iterator[Finding]:
    fit = compare_schema(found.version, found.oldest_service)
    if fit == "not_migrated":
        yield Finding(
            part="schema",
            found=f"version {found.version} is older than this release, which needs {SCHEMA_VERSION}",
            remedy=PUSH,
            prevents_start=True,
        )
    elif fit == "too_new":
        yield Finding(
            part="schema",
            found=f"version {found.version} is too new for this release, which knows {SCHEMA_VERSION}",
            remedy="Install the release of the migrations that were pushed",
            prevents_start=True,
        )
    elif found.missing:
        named = ", ".join(found.missing[:NAMED_PARTS])
        more = len(found.missing) - NAMED_PARTS
        yield Finding(
            part="schema",
            found=f"parts are missing or disabled: {named}{f' and {more} more' if more > 0 else ''}",
            remedy="`select * from operations.missing_parts()` lists all: docs/runbooks/restore-a-backup.md",
        )
    else:
        yield good("schema", f"version {found.version}")
