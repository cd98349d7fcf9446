"""Probes of the database, for the readiness check: the installation, and whether consumers are alive."""

from datetime import UTC, datetime

import psycopg
import structlog
from msgspec import Struct

from backend.database.pool import Database, required
from backend.database.queries import load_queries
from backend.database.schema_version import compare_schema
from backend.errors import AppError

log = structlog.get_logger("likeness")
queries = load_queries(__file__)

NAMED_PARTS = 10  # of a broken installation, in the log


class Installation(Struct, frozen=True):
    version: int
    oldest_service: int
    missing: list[str]


class ConsumersState(Struct, frozen=True):
    alive: int
    last_seen_at: datetime | None
    unread_queues: list[str]  # that no living consumer reads

    def __str__(self) -> str:
        """ok, `none`, `none since …` or `none for QUEUE, …`."""
        if self.alive:
            return f"none for {', '.join(self.unread_queues)}" if self.unread_queues else "ok"
        if self.last_seen_at is None:
            return "none"
        return f"none since {self.last_seen_at.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}"


async def probe_database(database: Database) -> str:
    """ok, unreachable, not_migrated, too_new, or incomplete: a part that the migrations made is missing."""
    fit = "ok"
    try:
        if not await database.reads.fetch_value(queries.is_migrated, of=bool):
            return "not_migrated"
        found = required(await database.reads.fetch_one(queries.installation, row=Installation))
        fit, missing = compare_schema(found.version, found.oldest_service), found.missing
    except AppError:
        return "unreachable"
    except psycopg.Error as error:  # what the check itself needs is missing
        missing = [str(error).partition("\n")[0]]
    if fit == "ok" and missing:
        log.error("installation_incomplete", count=len(missing), missing=missing[:NAMED_PARTS])
        return "incomplete"
    return fit


async def probe_consumers(database: Database) -> str:
    """As ConsumersState; `unknown` where the database does not tell."""
    try:
        state = await database.reads.fetch_one(queries.consumers_state, row=ConsumersState)
    except (AppError, psycopg.Error):
        state = None
    return "unknown" if state is None else str(state)
