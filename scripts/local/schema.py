"""`python -m scripts schema`: write the schema of a migrated database to supabase/schema.md."""

import sys
from collections.abc import Iterable, Sequence
from typing import LiteralString, TypeVar

import psycopg
from msgspec import Struct
from psycopg.rows import class_row

from backend.database.queries import load_queries
from scripts.local.lifecycle import migrated
from scripts.local.supabase.postgres import PostgresError
from scripts.migrations import ROOT, MigrationError

queries = load_queries(__file__)
PAGE = ROOT / "supabase" / "schema.md"
SCHEMAS = ["public", "voice_clone", "operations"]
INTRODUCTION = """\
# The schema

What `supabase/migrations` make of an empty project. Written by `python -m scripts schema`; a test compares.
"""
T = TypeVar("T", bound=Struct)


class Relation(Struct, frozen=True):
    name: str
    is_type: bool
    partition_key: str | None


class Column(Struct, frozen=True):
    relation: str
    name: str
    type: str
    is_nullable: bool
    default_value: str
    comment: str


class Detail(Struct, frozen=True):
    """A constraint, an index, a trigger, or what a role may do."""

    relation: str
    text: str


class Policy(Struct, frozen=True):
    relation: str
    name: str
    command: str
    roles: str
    using_expression: str
    check_expression: str


class Function(Struct, frozen=True):
    name: str
    arguments: str
    result: str
    roles: list[str]  # that may execute it, beside its owner


class Queue(Struct, frozen=True):
    name: str
    purpose: str


def schema() -> None:
    """Write tables, functions and policies to supabase/schema.md.

    Reads DATABASE_URL if it is set, with the login of the owner, else a new database with this checkout's
    migrations.

    Needs: the extra `local` and the Node packages of a checkout (`make` installs both).

    Exit codes: 0 written; 1 the database could not be read.

    Example: likeness schema
    """
    try:
        with migrated() as dsn:
            page = render(dsn)
    except (MigrationError, PostgresError, psycopg.Error) as error:
        sys.exit(str(error))
    PAGE.write_text(page)
    sys.stdout.write(f"written to {PAGE.relative_to(ROOT)}\n")


def render(dsn: str) -> str:
    """The page. Without a search path, every name is qualified."""
    with psycopg.connect(dsn, options="-c search_path=") as connection:
        relations = read(connection, queries.relations, Relation)
        names = [relation.name for relation in relations]
        columns = read(connection, queries.columns, Column, names)
        details = read(connection, queries.details, Detail, names)
        policies = read(connection, queries.policies, Policy)
        functions = read(connection, queries.functions, Function)
        queues = read(connection, queries.queues, Queue)
    tables = [each for each in relations if not each.is_type]
    types = [each for each in relations if each.is_type]
    blocks = [
        INTRODUCTION,
        "## Tables\n",
        *(table(each, columns, details) for each in tables),
        "## Composite types\n",
        bullets(f"`{each.name} ({fields(each, columns)})`" for each in types),
        "## Policies\n",
        bullets(map(policy_line, policies)),
        *functions_by_role(functions),
        "## Queues\n",
        "A message whose budget is used up is a row of `voice_clone.dead_letters`.\n",
        bullets(f"`{queue.name}`: {queue.purpose}" for queue in queues),
    ]
    return "\n".join(blocks)


def read(
    connection: psycopg.Connection, sql: LiteralString, row: type[T], relations: Sequence[str] = ()
) -> list[T]:
    with connection.cursor(row_factory=class_row(row)) as cursor:
        return cursor.execute(sql, {"schemas": SCHEMAS, "relations": list(relations)}).fetchall()


def table(relation: Relation, columns: Iterable[Column], details: Iterable[Detail]) -> str:
    title = f"### {relation.name}"
    if relation.partition_key:
        title += f", partitioned by {relation.partition_key.lower()}"
    rows = ["| column | type | default | |", "|---|---|---|---|"]
    rows += [column_row(each) for each in columns if each.relation == relation.name]
    blocks = [f"{title}\n", "\n".join(rows) + "\n"]
    if lines := [f"`{each.text}`" for each in details if each.relation == relation.name]:
        blocks.append(bullets(lines))
    return "\n".join(blocks)


def fields(composite: Relation, columns: Iterable[Column]) -> str:
    return ", ".join(f"{each.name} {each.type}" for each in columns if each.relation == composite.name)


def column_row(column: Column) -> str:
    nullability = "" if column.is_nullable else " not null"
    default = f"`{column.default_value}`" if column.default_value else ""
    cells = (column.name, f"{column.type}{nullability}", default, column.comment)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def policy_line(policy: Policy) -> str:
    conditions = [
        f"{word} `{expression}`"
        for word, expression in (("using", policy.using_expression), ("check", policy.check_expression))
        if expression
    ]
    line = f"{policy.relation}: {policy.name} ({policy.command}, {policy.roles}) {' '.join(conditions)}"
    return " ".join(line.split())


def functions_by_role(functions: Sequence[Function]) -> list[str]:
    blocks: list[str] = []
    for role in sorted({role for each in functions for role in each.roles}):
        blocks.append(f"## Functions that {role} may execute\n")
        blocks.append(bullets(map(signature, (each for each in functions if role in each.roles))))
    blocks.append("## Functions that only their owner may execute\n")
    blocks.append(bullets(map(signature, (each for each in functions if not each.roles))))
    return blocks


def signature(function: Function) -> str:
    return f"`{function.name}({function.arguments}) → {function.result}`"


def bullets(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)
