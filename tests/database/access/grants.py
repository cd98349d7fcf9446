"""What the catalog grants, in the form of the tables of expected.py, and how it differs from them."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from backend.database.queries import load_queries
from tests.database.access import expected

Connection = psycopg.Connection[Any]
Rights = dict[str, str]  # by role
queries = load_queries(__file__)
PLACE = "tests/database/access/expected.py"
EVERYONE = "everyone"


def rows(connection: Connection, query: LiteralString, name: str | None = None) -> list[dict[str, Any]]:
    return connection.cursor(row_factory=dict_row).execute(query, {"name": name}).fetchall()


def by_role(written: dict[str, str]) -> Rights:
    """{"anon, authenticated": "select"} → one entry for each role."""
    return {role: rights for roles, rights in written.items() for role in roles.split(", ")}


def collapsed(rights: Rights) -> dict[str, str]:
    """The reverse, as it is to be written."""
    roles: dict[str, list[str]] = defaultdict(list)
    for role, held in sorted(rights.items()):
        roles[held].append(role)
    return {", ".join(names): held for held, names in roles.items()}


def differing(table: str, label: str, found: Rights) -> Iterator[str]:
    """One sentence where the rights on an object are not as written."""
    written: dict[str, str] | None = getattr(expected, table).get(label)
    if written is None:
        entry = f"{label!r}: {collapsed(found)}"
        yield f"{label} has no written expectation. Write in {table} of {PLACE}: {entry}"
    elif by_role(written) != found:
        yield f"{label} grants {collapsed(found)}, but {table} of {PLACE} says {collapsed(by_role(written))}"


def relations(connection: Connection, name: str | None = None) -> Iterator[str]:
    """One relation by its name, or all."""
    found: dict[tuple[str, str], Rights] = defaultdict(dict)
    for row in rows(connection, queries.relations, name):
        rights = found[row["name"], row["label"]]
        if row["rights"]:
            rights[row["role"]] = row["rights"]
    for (relation, label), rights in sorted(found.items()):
        yield from (f"{relation}: {line}" for line in differing("RELATIONS", label, rights))
    if name is None:
        yield from missing("RELATIONS", {label for _, label in found})


def functions(connection: Connection, name: str | None = None) -> Iterator[str]:
    written = {label: roles for roles, labels in expected.FUNCTIONS.items() for label in labels.split()}
    found = rows(connection, queries.functions, name)
    for row in found:
        label, roles = row["label"], ", ".join(sorted(row["roles"])) or "nobody"
        where = f"under {roles!r} in FUNCTIONS of {PLACE}"
        if written.get(label, "nobody") != roles:
            said = f"written is {written.get(label, 'nothing')}. If it is meant, write {label} {where}"
            yield f"{row['signature']} may be executed by {roles}; {said}"
    if name is None:
        gone = set(written) - {row["label"] for row in found}
        yield from (f"there is no function {label}: remove it from FUNCTIONS of {PLACE}" for label in gone)


def schemas(connection: Connection) -> Iterator[str]:
    every = {row["role"] for row in rows(connection, queries.roles)}
    found: dict[str, Rights] = defaultdict(dict)
    for row in rows(connection, queries.schemas):
        rights = found[row["label"]]
        if row["rights"]:
            rights[row["role"]] = row["rights"]
    for label, rights in found.items():
        if label not in expected.SCHEMAS_OF_THE_HOST:
            is_uniform = rights.keys() == every and len(set(rights.values())) == 1
            shown = {EVERYONE: next(iter(rights.values()))} if is_uniform else rights
            yield from differing("SCHEMAS", label, shown)


def roles(connection: Connection) -> Iterator[str]:
    attributes = {row["role"]: row["attributes"] for row in rows(connection, queries.attributes)}
    for role, held in attributes.items():
        if expected.ROLES.get(role) != held:
            yield f"the role {role} has the attributes {held!r}. If they are meant: ROLES of {PLACE}"
    members: dict[str, Rights] = {role: {} for role in attributes}
    for row in rows(connection, queries.memberships):
        members.setdefault(row["member"], {})[row["role"]] = row["how"]
    for member, held in members.items():
        if held or member in expected.MEMBERSHIPS:
            yield from differing("MEMBERSHIPS", member, held)


def defaults(connection: Connection) -> Iterator[str]:
    found: dict[str, Rights] = defaultdict(dict)
    for row in rows(connection, queries.defaults):
        found[row["schema"]][row["kind"]] = row["granted"]
    for schema, held in found.items():
        yield from differing("DEFAULT_PRIVILEGES", schema, held)


def row_level_security(connection: Connection, name: str | None = None) -> Iterator[str]:
    for row in rows(connection, queries.without_row_level_security, name):
        yield f"{row['name']} has no row level security: enable it in the migration that creates the table"


def missing(table: str, found: set[str]) -> Iterator[str]:
    for label in getattr(expected, table).keys() - found:
        yield f"there is no {label}: remove it from {table} of {PLACE}"


def every_difference(connection: Connection) -> list[str]:
    checks = (relations, functions, schemas, roles, defaults, row_level_security)
    return [line for check in checks for line in check(connection)]
