"""`likeness health`: whether the process beside it works, for the health check of a container."""

import os
import socket
import sys
from typing import Annotated, Literal

import psycopg
import typer

from backend.checks.database import connect, refused
from backend.checks.requests import Unreachable, send
from backend.database.queries import load_queries
from backend.settings.database import DatabaseSettings
from backend.settings.sections import read_section
from backend.settings.server import ServerSettings, own_url

queries = load_queries(__file__)


def health(
    process: Annotated[Literal["service", "consumers"], typer.Argument(help="Which process is asked for.")],
) -> None:
    """Say if the process beside this one works.

    The service works if its own port answers /health/ready with 200. The consumers write about every 15
    seconds into the database that they are alive, with the name of their host: they work if those of this
    host did so in the last minute.

    Needs: HOST and PORT for the service, DATABASE_URL for the consumers, as the process has them.

    Exit codes: 0 it works; 1 it does not, and the line says what is the matter; 2 wrong usage.

    Example: likeness health service
    """
    fault = service_fault() if process == "service" else consumers_fault()
    if fault:
        sys.exit(f"{process}: {fault}")
    print(f"{process}: ok")


def service_fault() -> str | None:
    """The parts that are not available, or why there is no answer."""
    server = read_section(ServerSettings, os.environ, [])
    if server is None:
        return "HOST, PORT or another setting of the service is missing or wrong"
    url = f"{own_url(server.host, server.port)}/health/ready"
    try:
        answer = send("GET", url)
    except Unreachable as error:
        return f"{url} does not answer: {error}"
    if answer.status == 200:
        return None
    parts = answer.json()
    states = parts.items() if isinstance(parts, dict) else []
    named = [f"{part} {state}" for part, state in states if part != "status" and state != "ok"]
    return ", ".join(named) or f"{url} answers with HTTP {answer.status}"


def consumers_fault() -> str | None:
    """What hinders the query, or that no consumer of this host reported lately."""
    settings = read_section(DatabaseSettings, os.environ, [])
    if settings is None:
        return "DATABASE_URL is missing or wrong"
    host = socket.gethostname() or "unknown"
    try:
        with connect(settings.url) as connection:
            row = connection.execute(queries.is_alive, {"host": host}).fetchone()
    except psycopg.Error as error:
        return refused("DATABASE_URL", settings.url, error).found
    return None if row and row[0] else f"none of {host} has reported in the last minute"
