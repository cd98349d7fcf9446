"""The migrations on a project that has a table `reflections` of its own: they adopt it or change nothing."""

import json
import re
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from scripts.migrations import MigrationError, push_migrations
from tests.clusters import Database
from tests.scripts.advisors import warnings
from tests.scripts.existing_projects import PROJECTS, UNFIT, apply

CATALOGS = (
    *("namespace", "class", "attribute", "attrdef", "constraint", "index", "proc", "trigger", "policy"),
    *("type", "rewrite", "default_acl", "authid", "auth_members"),
)
# Statistics, which a vacuum or an analyze may change at any time.
STATISTICS = ["relpages", "reltuples", "relallvisible", "relallfrozen", "relfrozenxid", "relminmxid"]
READER_GRANTS = {(column, "authenticated", "SELECT") for column in ("id", "user_id", "voice")}
READER_POLICY = "Owners read the voice of their reflections"
# What stands in the catalog about the application's own table.
OWN: dict[str, LiteralString] = {
    "columns": """
        select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
        from pg_attribute a left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        where a.attrelid = 'public.reflections'::regclass and a.attnum > 0""",
    "constraints": """
        select conname, pg_get_constraintdef(oid) from pg_constraint
        where conrelid = 'public.reflections'::regclass and contype <> 'n'""",
    "indexes": """
        select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index
        where indrelid = 'public.reflections'::regclass""",
    "triggers": """
        select tgname, pg_get_triggerdef(oid), tgenabled from pg_trigger
        where tgrelid = 'public.reflections'::regclass and not tgisinternal""",
    "policies": "select policyname, p::text from pg_policies p where tablename = 'reflections'",
    "grants": """
        select a.grantee::regrole::text, a.privilege_type
        from pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
        where c.oid = 'public.reflections'::regclass""",
    "grants on columns": """
        select c.attname, a.grantee::regrole::text, a.privilege_type
        from pg_attribute c, aclexplode(c.attacl) a
        where c.attrelid = 'public.reflections'::regclass""",
}


def catalog(database: Database) -> dict[str, list[str]]:
    with psycopg.connect(database.superuser) as superuser:
        return {
            name: sorted(
                json.dumps(row, sort_keys=True)
                for (row,) in superuser.execute(
                    SQL("select to_jsonb(t) - %s::text[] from {} t").format(
                        Identifier("pg_catalog", f"pg_{name}")
                    ),
                    [STATISTICS],
                )
            )
            for name in CATALOGS
        }


# Each push takes seconds: every third kind in the ordinary run.
@pytest.mark.parametrize(
    ("reason", "sql"),
    [
        pytest.param(reason, sql, id=reason, marks=pytest.mark.long if number % 3 else ())
        for number, (reason, sql) in enumerate(UNFIT)
    ],
)
def test_what_cannot_be_adopted_is_named_in_one_sentence_and_nothing_is_changed(
    project: Database, reason: str, sql: LiteralString
) -> None:
    with psycopg.connect(project.superuser) as superuser:
        if "owner to" not in sql and "foreign data wrapper" not in sql:
            superuser.execute("set local role postgres")
        superuser.execute(sql)
    before = catalog(project)
    with pytest.raises(MigrationError) as refused:
        push_migrations(project.postgres)
    assert re.findall(r"ERROR: (.*)", str(refused.value)) == [
        f"public.reflections cannot be adopted: {reason} (SQLSTATE 55000)"
    ]
    assert catalog(project) == before


def test_a_public_bucket_of_our_name_stops_the_push_and_a_private_one_stays(project: Database) -> None:
    with psycopg.connect(project.superuser) as superuser:
        superuser.execute(
            "insert into storage.buckets (id, name, public, file_size_limit)"
            " values ('recordings', 'recordings', true, 7), ('speeches', 'speeches', false, 7)"
        )
    with pytest.raises(MigrationError, match="the bucket recordings exists and is public"):
        push_migrations(project.postgres)
    with psycopg.connect(project.superuser) as superuser:
        superuser.execute("update storage.buckets set public = false")
    push_migrations(project.postgres)
    with psycopg.connect(project.superuser) as superuser:
        found = superuser.execute("select id, file_size_limit, public from storage.buckets").fetchall()
    assert {("recordings", 7, False), ("speeches", 7, False), ("deep-fakes", 2**20, False)} <= set(found)


@pytest.mark.parametrize("name", ["operations", "voice_clone"])
def test_a_schema_of_our_name_stops_the_push_and_keeps_its_rights(project: Database, name: str) -> None:
    with psycopg.connect(project.postgres) as owner:
        owner.execute(SQL("create schema {0}; grant usage on schema {0} to anon").format(Identifier(name)))
    before = catalog(project)
    with pytest.raises(MigrationError, match=f"the schema {name} exists"):
        push_migrations(project.postgres)
    assert catalog(project) == before


def own(database: Database) -> dict[str, set[tuple[Any, ...]]]:
    with psycopg.connect(database.superuser) as superuser:
        return {what: set(superuser.execute(sql)) for what, sql in OWN.items()}


@pytest.mark.parametrize(
    ("name", "columns", "indexes", "policies"),
    [
        ("bare", {"voice", "created_at"}, 1, {READER_POLICY}),
        pytest.param("closed", {"voice"}, 1, {READER_POLICY}, marks=pytest.mark.long),
        pytest.param("with a voice", {"created_at"}, 0, set[str](), marks=pytest.mark.long),
        ("full", set[str](), 1, set[str]()),
    ],
)
def test_an_adopted_table_keeps_what_is_its_own_and_gets_what_is_missing(
    project: Database, name: str, columns: set[str], indexes: int, policies: set[str]
) -> None:
    apply(project, PROJECTS[name])
    before, warned = own(project), warnings(project)
    push_migrations(project.postgres)
    after = own(project)
    lost = {what: before[what] - after[what] for what in OWN}
    assert lost.pop("grants") <= {(role, "TRIGGER") for role in ("anon", "authenticated", "service_role")}
    assert lost == {what: set[Any]() for what in OWN if what != "grants"}
    added = {what: after[what] - before[what] for what in OWN}
    assert {column[0] for column in added["columns"]} == columns
    assert [check for _, check in added["constraints"]] == ["CHECK ((jsonb_typeof(voice) = 'object'::text))"]
    methods = [definition.split("USING ")[1] for _, definition in added["indexes"]]
    assert methods == ["btree (user_id)"] * indexes
    assert {trigger[0].startswith("voice_clone_") for trigger in added["triggers"]} == {True}
    assert {policy[0] for policy in added["policies"]} == policies
    assert added["grants"] == set()
    assert added["grants on columns"] == (READER_GRANTS if policies else set())
    assert "up to date" in push_migrations(project.postgres)
    assert warnings(project) == warned
