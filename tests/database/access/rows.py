"""Which rows each actor reaches: what the policies alone allow, with every right granted.

A statement has no WHERE, because Postgres would apply the policies of SELECT to it as well.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from backend.database.queries import load_queries
from tests.database.access import expected_rows
from tests.database.access.scene import BUCKETS, People

Connection = psycopg.Connection[Any]
queries = load_queries(__file__)
PLACE = "tests/database/access/expected_rows.py"
ACTORS = ("anon", "owner", "member", "stranger", "service", "service_role")
COMMANDS = ("select", "insert", "update", "give", "delete")
ROLES = {
    "owner": "authenticated",
    "member": "authenticated",
    "stranger": "authenticated",
    "service": "voice_clone_service",
}
OBJECTS = "storage.objects"
# What belongs to an organization: the column that names it, and the expression of its id.
OF_ORGANIZATIONS = {
    "public.organizations": ("id", "id::text"),
    "public.organization_members": ("org_id", "org_id::text"),
    "public.employees": ("org_id", "org_id::text"),
    "public.calls": (
        "employee_id",
        "(select e.org_id::text from public.employees e where e.id = t.employee_id)",
    ),
}
MEMBERS = "public.organization_members"
Outcomes = dict[str, tuple[str, ...]]  # by command, one for each actor


# What has a user or an organization: a row of an organization is its admin's.
OF_EITHER = {
    "public.voice_consents",
    "public.voice_clone_attempts",
    "public.voices",
    "public.webhooks",
    "public.webhook_deliveries",
}
EITHER = (
    "coalesce(t.user_id, (select m.user_id from public.organization_members m"
    " where m.org_id = t.org_id and m.role = 'admin'))::text"
)


@dataclass
class Table:
    """`label` names one bucket of storage.objects as if it were a table."""

    label: str
    name: str
    bucket: str | None
    inserted: list[str]
    updated: str
    owner: str | None  # the expression that is the owner's id, as text
    owned_by_column: str = "user_id"

    @property
    def rows(self) -> str:
        where = f" where bucket_id = '{self.bucket}'" if self.bucket else ""
        return f"select to_jsonb(t) as row, {self.owner or 'null'} as owner from {self.name} t{where}"

    @property
    def is_of_organizations(self) -> bool:
        return self.name in OF_ORGANIZATIONS

    def owned_by(self, row: dict[str, Any], owner: UUID) -> dict[str, Any]:
        """The same row, of this owner."""
        if self.bucket:
            return row | {"name": f"{owner}/{uuid4()}"}
        if self.name == MEMBERS:
            row = row | {"user_id": str(uuid4())}
        return row | {self.owned_by_column: str(owner)} if self.owner else row


def tables(connection: Connection) -> list[Table]:
    found: list[Table] = []
    for (name,) in connection.execute(queries.relations, {}).fetchall():
        row = connection.cursor(row_factory=dict_row).execute(queries.columns, {"name": name}).fetchone()
        assert row is not None
        if name == OBJECTS:
            owner = "(storage.foldername(name))[1]"
            found += [
                Table(f"{OBJECTS}/{bucket}", name, bucket, row["inserted"], row["updated"], owner)
                for bucket in BUCKETS
            ]
        elif name in OF_ORGANIZATIONS:
            column, owner = OF_ORGANIZATIONS[name]
            found.append(Table(name, name, None, row["inserted"], row["updated"], owner, column))
        else:
            owner = "user_id::text" if row["has_owner"] else None
            owner = EITHER if name in OF_EITHER else owner
            found.append(Table(name, name, None, row["inserted"], row["updated"], owner))
    return found


@contextmanager
def everything_granted(scene: People) -> Iterator[Connection]:
    """Only policies decide: every right is granted, no trigger runs. Rolled back."""
    with psycopg.connect(scene.database.superuser) as connection:
        connection.execute("set local session_replication_role = 'replica'")
        # Autovacuum would wait for the grants, and an ALTER of its table for autovacuum.
        for (name,) in connection.execute(queries.relations, {}).fetchall():
            connection.execute(f"lock table {name} in share update exclusive mode".encode())
        for schema in ("public", "voice_clone", "operations", "pgmq", "storage"):
            to = "to anon, authenticated, service_role, voice_clone_service"
            connection.execute(f"grant usage on schema {schema} {to}".encode())
            connection.execute(f"grant all on all tables in schema {schema} {to}".encode())
            connection.execute(f"grant execute on all functions in schema {schema} {to}".encode())
        yield connection
        connection.rollback()


class Probe:
    """Tries each command on one table as each actor; every try is rolled back."""

    def __init__(self, connection: Connection, scene: People, table: Table) -> None:
        self.connection, self.scene, self.table = connection, scene, table
        self.users = {"owner": scene.owner, "member": scene.member, "stranger": scene.stranger}
        self.is_call = table.name == "public.calls"

    def owns(self, actor: str) -> UUID | None:
        """Whose row an insert of this actor makes."""
        if not self.table.is_of_organizations:
            return self.scene.owner if actor == "anon" else self.users.get(actor)
        if actor == "stranger":
            return None
        return self.scene.employee if self.is_call else self.scene.organization

    @property
    def owner(self) -> UUID:
        return self.scene.organization if self.table.is_of_organizations else self.scene.owner

    @property
    def other(self) -> UUID:
        if not self.table.is_of_organizations:
            return self.scene.other
        return self.scene.other_employee if self.is_call else self.scene.other_organization

    def outcomes(self) -> Outcomes:
        rows = self.connection.execute(self.table.rows.encode()).fetchall()
        assert rows, f"{self.table.label} has no row: insert one in Scene of tests/database/access/scene.py"
        self.total = len(rows)
        self.own = sum(owner == str(self.owner) for _, owner in rows)
        if self.table.owner:
            assert 0 < self.own < self.total, (
                f"{self.table.label} needs rows of two owners: insert them in Scene"
            )
        mine = [row for row, owner in rows if owner == str(self.owner)]
        self.row = next((row for row in mine if row.get("user_id")), (mine or [rows[0][0]])[0])
        return {command: tuple(self.attempt(command, actor) for actor in ACTORS) for command in COMMANDS}

    def attempt(self, command: str, actor: str) -> str:
        with self.connection.transaction(force_rollback=True):
            if self.table.bucket:
                other = f"delete from {OBJECTS} where bucket_id <> '{self.table.bucket}'"
                self.connection.execute(other.encode())
            if command == "insert" and self.table.name != MEMBERS:
                self.connection.execute(f"delete from {self.table.name}".encode())
            self.become(actor)
            return getattr(self, f"try_{command}")(actor)

    def become(self, actor: str) -> None:
        """`anon` carries the owner's id, which no token of Auth does: its role alone must keep it out."""
        user = self.scene.owner if actor == "anon" else self.users.get(actor)
        claims = {"role": ROLES.get(actor, actor), **({"sub": str(user)} if user else {})}
        self.connection.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            (claims["role"], json.dumps(claims)),
        )

    def try_select(self, _: str) -> str:
        return self.reached(f"select from {self.table.name}")

    def try_delete(self, _: str) -> str:
        return self.reached(f"delete from {self.table.name}")

    def try_update(self, _: str) -> str:
        """To a constant: an expression with a column would need SELECT."""
        column = self.table.updated
        return self.reached(f"update {self.table.name} set {column} = {self.constant(column)}")

    def try_give(self, _: str) -> str:
        """Makes the rows another user's."""
        if self.table.owner is None:
            return "-"
        target = self.table.owned_by(self.row, self.other)
        column = "name" if self.table.bucket else self.table.owned_by_column
        return self.reached(f"update {self.table.name} set {column} = '{target[column]}'")

    def try_insert(self, actor: str) -> str:
        if self.table.owner is None:
            return "all" if self.inserts(self.row) else "none"
        if self.inserts(self.table.owned_by(self.row, self.other)):
            return "all"
        owner = self.owns(actor)
        return "own" if owner and self.inserts(self.table.owned_by(self.row, owner)) else "none"

    def inserts(self, row: dict[str, Any]) -> bool:
        columns = ", ".join(self.table.inserted)
        statement = (
            f"insert into {self.table.name} ({columns}) overriding system value"
            f" select {columns} from jsonb_populate_record(null::{self.table.name}, %s::jsonb)"
        )
        return self.reached(statement, json.dumps(row)) != "none"

    def constant(self, column: str) -> str:
        quoted = sql.quote(self.row[column.strip('"')], self.connection)
        return f"({quoted})" if not isinstance(self.row[column.strip('"')], dict | list) else "default"

    def reached(self, statement: str, *parameters: object) -> str:
        try:
            with self.connection.transaction():
                count = self.connection.execute(statement.encode(), parameters or None).rowcount
        except psycopg.errors.InsufficientPrivilege:
            return "none"
        except psycopg.errors.UniqueViolation:  # the policies allowed it
            return "all"
        except psycopg.Error as error:
            return str(error.sqlstate)
        if count in (0, self.total):
            return "all" if count else "none"
        return "own" if count == self.own else "some"


def written() -> dict[str, Outcomes]:
    """The table of expected_rows.py."""
    found: dict[str, Outcomes] = {}
    label = ""
    for line in expected_rows.ROWS.strip().splitlines()[1:]:
        words = line.split()
        if words and len(words) == len(ACTORS) + 2:
            label = words.pop(0)
        if words:
            found.setdefault(label, {})[words[0]] = tuple(words[1:])
    return found


def shown(label: str, outcomes: Outcomes) -> str:
    """As it is to be written."""
    lines = [
        f"{name:<8}{each_actor[0]:<8}" + "".join(f"{each:<10}" for each in each_actor[1:])
        for name, each_actor in outcomes.items()
    ]
    return "\n".join(f"{label if not number else '':<34}{line}".rstrip() for number, line in enumerate(lines))


def differences(connection: Connection, scene: People, table: Table) -> list[str]:
    outcomes = Probe(connection, scene, table).outcomes()
    is_closed = table.label in expected_rows.CLOSED.split() or table.name.startswith("pgmq.")
    wanted = closed(table) if is_closed else written().get(table.label)
    if wanted is None:
        lines = shown(table.label, outcomes)
        return [f"{table.label} has no written expectation. Write in ROWS of {PLACE}:\n{lines}"]
    return [
        f"{table.label}: {command} reaches {' '.join(outcomes[command])} ({', '.join(ACTORS)}),"
        f" but ROWS of {PLACE} says {' '.join(wanted.get(command, ()))}"
        for command in COMMANDS
        if outcomes[command] != wanted.get(command)
    ]


def closed(table: Table) -> Outcomes:
    """Only service_role, which bypasses policies, would reach its rows, and it is granted nothing."""
    nothing = (*["none"] * (len(ACTORS) - 1), "all")
    without_owner = ("-",) * len(ACTORS)
    return {
        command: without_owner if command == "give" and not table.owner else nothing for command in COMMANDS
    }
