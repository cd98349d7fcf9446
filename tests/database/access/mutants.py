"""Mutants made from the catalog: each grant, policy and rule of row level security, dropped and widened."""

import re
from collections.abc import Iterator
from itertools import product

from backend.database.queries import load_queries
from tests.database.access import rows as row_access
from tests.database.access.grants import Connection, rows
from tests.database.access.scene import BUCKETS

queries = load_queries(__file__)
GRANTEES = ("public", "anon", "authenticated", "service_role", "voice_clone_backend")
PRIVILEGES = ("select", "insert", "update", "delete", "truncate", "references", "trigger")
CLIENTS = ("anon", "authenticated")
SETS = ("voice_clone.member_organizations", "voice_clone.admin_organizations")


def of_relations(connection: Connection) -> Iterator[tuple[str, str]]:
    """(relation, statement): each grant revoked, each other one added, for clients by column too."""
    for relation in rows(connection, queries.relations):
        name = relation["name"]
        granted = rows(connection, queries.grants, name)
        for grant in granted:
            yield name, f"revoke {grant['privilege']}{grant['columns']} on {name} from {grant['role']}"
        held = {(grant["role"], grant["privilege"], grant["columns"]) for grant in granted}
        privileges = ("usage", "select", "update") if relation["is_sequence"] else PRIVILEGES
        for role, privilege in product(GRANTEES, privileges):
            if (role, privilege, "") not in held:
                yield name, f"grant {privilege} on {name} to {role}"
        for role, privilege, column in product(CLIENTS, ("select", "insert", "update"), relation["columns"]):
            if not {(role, privilege, ""), (role, privilege, f" ({column})")} & held:
                yield name, f"grant {privilege} ({column}) on {name} to {role}"


def of_functions(connection: Connection) -> Iterator[tuple[str, str]]:
    for function in rows(connection, queries.functions):
        signature = function["signature"]
        for role in GRANTEES:
            if role in function["roles"]:
                yield signature, f"revoke execute on function {signature} from {role}"
            elif role != function["owner"]:
                yield signature, f"grant execute on function {signature} to {role}"


def of_schemas_and_roles() -> Iterator[str]:
    clients_and_ours = (*GRANTEES, "voice_clone_service", "authenticator")
    for role, schema in product(
        (*GRANTEES, "authenticator"), ("voice_clone", "operations", "public", "pgmq")
    ):
        for privilege in ("usage", "create"):
            if (schema, privilege) != ("public", "usage"):  # the host lets everyone use it
                yield f"grant {privilege} on schema {schema} to {role}"
                yield f"revoke {privilege} on schema {schema} from {role}"
    for role in clients_and_ours[1:]:
        yield f"alter role {role} bypassrls"
        yield f"alter role {role} nobypassrls"
        yield f"alter role {role} createrole"
        yield f"grant pg_read_all_data to {role}"
        yield f"grant pg_write_all_data to {role}"
    for role, member in product(("voice_clone_backend", "service_role"), clients_and_ours[1:]):
        if role != member:
            yield f"grant {role} to {member}"
    for kind in ("functions", "tables", "sequences"):
        defaults = "alter default privileges for role postgres in schema"
        yield f"{defaults} voice_clone grant all on {kind} to public"
        yield f"{defaults} public revoke all on {kind} from anon"
    yield "alter default privileges for role postgres revoke execute on functions from public"


def of_row_level_security(tables: list[str]) -> Iterator[tuple[str, str]]:
    yield from ((name, f"alter table {name} disable row level security") for name in tables)


def of_policies(connection: Connection) -> Iterator[tuple[str, str]]:
    """(table, statement) for each policy: dropped, for more roles or members, without a part of its rule."""
    for policy in rows(connection, row_access.queries.policies):
        table, policy_on = policy["relation"], f'policy "{policy["name"]}" on {policy["relation"]}'
        yield table, f"drop {policy_on}"
        if "anon" not in policy["roles"]:
            yield table, f"alter {policy_on} to public"
            yield table, f"alter {policy_on} to anon, authenticated"
        for kind, expression in (
            ("using", policy["using_expression"]),
            ("with check", policy["check_expression"]),
        ):
            if expression not in (None, "true"):
                yield table, f"alter {policy_on} {kind} (true)"
                yield table, f"alter {policy_on} {kind} (false)"
                for one, other in product(SETS, SETS):
                    if one != other and one in expression:
                        yield table, f"alter {policy_on} {kind} ({expression.replace(one, other)})"
                for part in without_one(conjuncts(expression)):
                    yield table, f"alter {policy_on} {kind} ({part})"
                for bucket in BUCKETS:
                    yield from of_bucket(table, f"alter {policy_on} {kind}", expression, bucket)


def of_bucket(table: str, alter: str, expression: str, bucket: str) -> Iterator[tuple[str, str]]:
    """The rule reads one bucket more, or less, or all that lies in it."""
    named = f"'{bucket}'::text"
    if "bucket_id = ANY (ARRAY[" in expression:
        if named in expression:
            yield table, f"{alter} ({re.sub(f'{named}, |, {named}', '', expression, count=1)})"
        else:
            yield table, f"{alter} ({expression.replace('ARRAY[', f'ARRAY[{named}, ')})"
        yield table, f"{alter} (({expression}) or bucket_id = '{bucket}')"


def of_new_policies(tables: list[str]) -> Iterator[tuple[str, str]]:
    """One policy more on each table, for one command or for all."""
    for table, role in product(tables, ("public", "anon", "authenticated")):
        for command in ("select", "insert", "update", "delete", "all"):
            conditions = {"select": "using (true)", "insert": "with check (true)", "delete": "using (true)"}
            condition = conditions.get(command, "using (true) with check (true)")
            if command == "select" and table == "public.voice_consent_statements":
                continue  # everyone reads them
            yield table, f"create policy mutant on {table} for {command} to {role} {condition}"


def conjuncts(expression: str) -> list[str]:
    """The parts of `a AND b` at its outermost level, as pg_get_expr prints it."""
    inner = expression[1:-1] if expression.startswith("(") and expression.endswith(")") else expression
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(inner):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0 and inner.startswith(" AND ", place):
            parts.append(inner[start:place])
            start = place + len(" AND ")
    return [*parts, inner[start:]]


def without_one(parts: list[str]) -> Iterator[str]:
    if len(parts) > 1:
        for left_out in range(len(parts)):
            yield " and ".join(part for number, part in enumerate(parts) if number != left_out)


def batches(mutants: Iterator[tuple[str, str]]) -> Iterator[dict[str, str]]:
    """Mutants of different objects together, one of each object: none of them can hide another."""
    waiting: dict[str, list[str]] = {}
    for name, statement in mutants:
        waiting.setdefault(name, []).append(statement)
    while waiting:
        yield {name: statements.pop(0) for name, statements in waiting.items()}
        waiting = {name: statements for name, statements in waiting.items() if statements}
