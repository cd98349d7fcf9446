"""The migrations on a project that has tables of organizations and employees of its own."""

import re
from typing import LiteralString

import psycopg
import pytest
from psycopg import errors

from scripts.migrations import MigrationError, push_migrations
from tests.clusters import Database
from tests.database.invariants import FIRST_MIRROR
from tests.scripts.advisors import warnings
from tests.scripts.existing_projects import adopted, apply
from tests.scripts.test_existing_projects import catalog

# Roles and columns of its own, and a voice that was made before; without policies.
OWN: LiteralString = """
create type public.org_role as enum ('owner', 'admin', 'member', 'invited');
create table public.organizations (id uuid primary key default gen_random_uuid(), slug text unique);
create table public.organization_members (
  id bigint primary key generated always as identity, role public.org_role not null,
  org_id uuid not null references public.organizations (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade
);
create table public.employees (
  id uuid primary key default gen_random_uuid(), org_id uuid not null references public.organizations (id),
  full_name varchar(80), email varchar(80), voice_id text
);
create table public.calls (
  id uuid primary key default gen_random_uuid(), employee_id uuid references public.employees (id)
);
alter table public.organizations enable row level security;
alter table public.organization_members enable row level security;
alter table public.employees enable row level security;
alter table public.calls enable row level security;
insert into public.organizations (slug) values ('acme');
insert into public.employees (org_id, full_name, voice_id)
select id, 'Bo Lind', 'made-before' from public.organizations;
"""
ROWS: LiteralString = "alter table public.employees enable row level security"


def test_tables_of_the_application_are_adopted_with_their_rows(project: Database) -> None:
    apply(project, OWN)
    warned = warnings(project)
    push_migrations(project.postgres)
    with adopted(project) as given:
        row = given.truth("select * from public.employees")
        assert (row["voice_id"], row["voice"]) == ("made-before", FIRST_MIRROR)
        organization = row["org_id"]
        with pytest.raises(errors.InsufficientPrivilege, match="only the mirror writes"):
            given.superuser.execute("update public.employees set voice_id = 'new'")
        given.superuser.execute("update public.employees set email = 'bo@acme.example'")
        read = {role: given.user() for role in ("owner", "invited", "member", "admin")}
        for role, user in read.items():
            given.add_member(organization, user, role)
        seen = {role: sees(project, str(user)) for role, user in read.items()}
        assert seen == {"owner": 0, "invited": 0, "member": 1, "admin": 1}
        with pytest.raises(errors.DatabaseError, match="keeps at least one admin"):
            given.superuser.execute(
                "update public.organization_members set role = 'owner' where role = 'admin'"
            )
        given.superuser.execute("insert into public.organizations (slug) values ('beta')")
    assert warnings(project) == warned


def sees(project: Database, user: str) -> int:
    with psycopg.connect(project.superuser) as client:
        client.execute(
            "select set_config('request.jwt.claims', json_build_object('sub', %s::text)::text, true)", (user,)
        )
        client.execute("set local role authenticated")
        return client.execute("select voice_id from public.employees").rowcount


UNFIT: list[tuple[LiteralString, LiteralString]] = [
    (
        "employees cannot be adopted: its column voice_id is uuid, not text",
        f"create table public.employees (id uuid primary key, org_id uuid, voice_id uuid); {ROWS}",
    ),
    (
        "organization_members cannot be adopted: it has no column role;"
        " row level security is not enabled on it",
        "create table public.organization_members (id text, org_id uuid, user_id uuid)",
    ),
    (
        "calls cannot be adopted: its column id is bigint, not uuid",
        "create table public.calls (id bigint primary key, employee_id uuid);"
        " alter table public.calls enable row level security",
    ),
    ("organizations cannot be adopted: it is a view", "create view public.organizations as select 1 as id"),
]


def test_what_cannot_be_adopted_is_named_in_one_sentence_and_nothing_is_changed(project: Database) -> None:
    for reason, sql in UNFIT:
        with psycopg.connect(project.superuser) as superuser:
            superuser.execute("set local role postgres")
            superuser.execute(sql)
        before = catalog(project)
        with pytest.raises(MigrationError) as refused:
            push_migrations(project.postgres)
        assert re.findall(r"ERROR: (.*)", str(refused.value)) == [f"public.{reason} (SQLSTATE 55000)"]
        assert catalog(project) == before
        with psycopg.connect(project.superuser) as superuser:
            superuser.execute("drop view if exists public.organizations")
            for table in ("employees", "organization_members", "calls"):
                superuser.execute(f"drop table if exists public.{table}".encode())
