"""What an uninstall would remove, what would stay, and what stands in its way; it only reads."""

from collections.abc import Iterator
from typing import Any

import psycopg
from msgspec import Struct, convert
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from backend.database.queries import load_queries
from backend.database.schema_version import SCHEMA_VERSION
from scripts.uninstall.names import names

queries = load_queries(__file__.replace("plan.py", "database.py"))

Row = dict[str, Any]
Connection = psycopg.Connection[Row]


class Part(Struct, frozen=True, kw_only=True):
    part: str
    name: str
    rows: int | None = None
    goes: bool = True


class Obstacle(Struct, frozen=True):
    """What stands in the way, and what to do about it."""

    found: str
    remedy: str


class Proof(Struct, frozen=True, kw_only=True):
    """What nobody can make again."""

    consents: int = 0
    events: int = 0
    erasures: int = 0


class Plan(Struct, frozen=True, kw_only=True):
    parts: list[Part]
    obstacles: list[Obstacle]
    proof: Proof
    mentions: list[str]  # functions of the application that name ours in their text

    @property
    def is_installed(self) -> bool:
        return any(part.part == "schema" for part in self.parts)


def connect(dsn: str) -> Connection:
    return Connection.connect(dsn, autocommit=True, connect_timeout=10, row_factory=dict_row)


def rows(connection: Connection, query: Any, **parameters: Any) -> list[Row]:
    return connection.execute(query, parameters).fetchall()


def one(connection: Connection, query: Any, **parameters: Any) -> Row:
    return rows(connection, query, **parameters)[0]


def has(connection: Connection, *relations: str) -> bool:
    """An installation may have stopped halfway, and not every project has pg_cron and the vault."""
    found = one(
        connection, "select bool_and(to_regclass(r) is not null) from unnest(%(r)s::text[]) r", r=[*relations]
    )
    return found["bool_and"]


def make_plan(connection: Connection, *, columns: bool, objects: bool) -> Plan:
    given = names()
    installed = one(connection, queries.installed)
    parts: list[Part] = []
    obstacles: list[Obstacle] = []
    proof, mentions = Proof(), list[str]()
    if installed["is_installed"]:
        tables = [row["name"] for row in rows(connection, queries.tables, tables=given["tables"])]
        given |= {"public_tables": tables, "columns": columns, "objects": objects}
        parts += [Part(part="table", name=name, rows=count(connection, name)) for name in tables]
        parts += convert(rows(connection, queries.parts, **given), list[Part])
        parts += [Part(part="queue", name=row["name"]) for row in queues(connection)]
        proof = proof_of(connection)
        mentions = [row["name"] for row in rows(connection, queries.mentions, **given)]
        obstacles += obstacles_of(connection, given, is_owner=installed["is_owner"])
    parts += outside(connection, given)
    return Plan(parts=parts, obstacles=obstacles, proof=proof, mentions=mentions)


def count(connection: Connection, table: str) -> int:
    return one(connection, SQL("select count(*) from {}").format(Identifier("public", table)))["count"]


def queues(connection: Connection) -> list[Row]:
    return rows(connection, queries.queues) if has(connection, "voice_clone.queues") else []


def proof_of(connection: Connection) -> Proof:
    if has(connection, "public.voice_consents", "voice_clone.events", "voice_clone.erasures"):
        return Proof(**one(connection, queries.proof))
    return Proof()


def outside(connection: Connection, given: dict[str, Any]) -> Iterator[Part]:
    """What is not in the schemas, and so may be left of an interrupted uninstall."""
    if has(connection, "cron.job"):
        for row in rows(connection, queries.jobs):
            yield Part(part="cron job", name=row["name"])
    if has(connection, "vault.secrets"):
        for row in rows(connection, queries.secrets):
            yield Part(part="secret of the vault", name=row["name"])
    if has(connection, "supabase_migrations.schema_migrations"):
        known = one(connection, queries.history, versions=given["versions"], names=given["names"])["count"]
        if known:
            yield Part(part="migration history", name="supabase_migrations.schema_migrations", rows=known)


def obstacles_of(connection: Connection, given: dict[str, Any], *, is_owner: bool) -> Iterator[Obstacle]:
    if not is_owner:
        yield Obstacle("this login does not own the schemas", "Set DATABASE_URL to the login of postgres")
    newer = newer_schema(connection)
    if newer:
        yield Obstacle(f"the schema has version {newer}", "Use the release of Likeness that made it")
    if has(connection, "voice_clone.enrollments"):
        yield from held(connection)
    yield from unfinished(connection, objects=given["objects"])
    if sessions := one(connection, queries.sessions)["count"]:
        yield Obstacle(
            f"{sessions} sessions of voice_clone_service", "Stop the service and the consumers, last of all"
        )
    for row in rows(connection, queries.dependents, **given):
        yield Obstacle(f"{row['name']} needs what would go", "Drop it, or change it in your application")
    if has(connection, "cron.job"):
        for row in rows(connection, queries.foreign_jobs):
            yield Obstacle(f"the cron job {row['name']} calls our functions", "select cron.unschedule(…)")


def newer_schema(connection: Connection) -> int:
    if one(connection, "select to_regprocedure('voice_clone.schema_version()') is null as is_old")["is_old"]:
        return 0
    version = one(connection, queries.schema_version)["version"]
    return version if version > SCHEMA_VERSION else 0


def held(connection: Connection) -> Iterator[Obstacle]:
    for row in rows(connection, queries.held_voices):
        place = " ".join(filter(None, (row["provider"], row["region"])))
        if row["requested"] == row["voices"]:
            remedy = "Their removal is under way: let the service and the consumers run, and wait"
        elif row["status"] in ("intended", "unknown"):
            remedy = (
                "Let the consumers run: they look at the provider if these were made. Then --voices again"
            )
        else:
            remedy = "likeness uninstall --voices --apply queues their removal"
        yield Obstacle(f"{row['voices']} voices at {place} ({row['status']})", remedy)


def unfinished(connection: Connection, *, objects: bool) -> Iterator[Obstacle]:
    if has(connection, "voice_clone.erasures") and (n := one(connection, queries.open_erasures)["count"]):
        yield Obstacle(
            f"{n} erasures are not complete", "likeness erase ledger shows them. Wait until they are"
        )
    if has(connection, "voice_clone.legal_holds") and (n := one(connection, queries.legal_holds)["count"]):
        yield Obstacle(f"{n} legal holds", "likeness retention shows and releases them")
    if objects or not has(connection, "voice_clone.object_removals", "voice_clone.employee_files"):
        return
    if n := one(connection, queries.open_removals)["sum"]:
        yield Obstacle(
            f"{n} folders of Storage are not emptied yet", "Let the consumers run, and wait; or use --objects"
        )
