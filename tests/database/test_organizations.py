"""Organizations: who is in one sees what it has, its admins change it, and one of them stays."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from threading import Barrier
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from tests.database.access import rows
from tests.database.access.scene import Scene
from tests.fixture import Fixture

Connection = psycopg.Connection[Any]
REMOVE = "delete from public.organization_members where org_id = %s and user_id = %s"

FORGERIES: tuple[LiteralString, ...] = (
    "update public.employees set voice_id = 'x' where id = %s",
    """update public.employees set voice = '{"cloneStatus": "ready"}' where id = %s""",
)


@contextmanager
def as_user(given: Fixture, user: UUID) -> Iterator[Connection]:
    """A client of the Data API; its transaction is committed."""
    with psycopg.connect(given.database.superuser) as connection:
        claims = json.dumps({"sub": str(user), "role": "authenticated"})
        connection.execute(
            "select set_config('role', 'authenticated', true),"
            " set_config('request.jwt.claims', %s, true)", (claims,),
        )  # fmt: skip
        yield connection


def members(given: Fixture, organization: UUID) -> dict[UUID, str]:
    found = given.superuser.execute(
        "select user_id, role from public.organization_members where org_id = %s", (organization,)
    ).fetchall()
    return {row["user_id"]: row["role"] for row in found}


def test_who_creates_an_organization_is_its_admin_and_adds_others(given: Fixture) -> None:
    ada, bea, cora = given.user(), given.user(), given.user()
    with as_user(given, ada) as client:
        client.execute("insert into public.organizations (name) values ('Acme')")
        row = client.execute("select id from public.organizations").fetchone()
        assert row
        client.execute(
            "insert into public.organization_members (org_id, user_id) values (%s, %s)", (row[0], bea)
        )
        client.execute(
            "insert into public.employees (org_id, full_name, email, phone)"
            " values (%s, 'Bo Lind', 'bo@acme.example', '+1555')", (row[0],),
        )  # fmt: skip
    assert members(given, row[0]) == {ada: "admin", bea: "member"}
    with as_user(given, bea) as client:
        assert client.execute("select full_name from public.employees").fetchall() == [("Bo Lind",)]
        with pytest.raises(errors.InsufficientPrivilege), client.transaction():
            client.execute("insert into public.employees (org_id, full_name) values (%s, 'X')", (row[0],))
    with as_user(given, cora) as client:
        assert client.execute("select full_name from public.employees").fetchall() == []


def test_the_last_admin_stays_whoever_removes_them(given: Fixture) -> None:
    ada, bea = given.user(), given.user()
    organization = given.organization(ada)
    given.add_member(organization, bea)
    for statement in (
        "delete from public.organization_members where org_id = %s and user_id = %s",
        "update public.organization_members set role = 'member' where org_id = %s and user_id = %s",
    ):
        with pytest.raises(errors.DatabaseError, match="keeps at least one admin") as refused:
            given.superuser.execute(statement.encode(), (organization, ada))
        assert refused.value.sqlstate == "VC007"
    with pytest.raises(errors.DatabaseError, match="keeps at least one admin"):
        given.superuser.execute(
            "update public.organization_members set org_id = %s where user_id = %s",
            (given.organization(bea), ada),
        )
    given.superuser.execute(
        "update public.organization_members set role = case user_id when %s then 'admin' else 'member' end"
        " where org_id = %s", (bea, organization),
    )  # fmt: skip
    assert members(given, organization) == {ada: "member", bea: "admin"}


def test_two_admins_who_remove_each_other_at_once_leave_one(given: Fixture) -> None:
    ada, bea = given.user(), given.user()
    for _ in range(5):
        organization = given.organization(ada)
        given.add_member(organization, bea, "admin")
        both = Barrier(2)

        def remove(by: UUID, whom: UUID, organization: UUID = organization, both: Barrier = both) -> None:
            with as_user(given, by) as client:
                both.wait()
                client.execute(REMOVE, (organization, whom))

        with ThreadPoolExecutor(2) as threads:
            done = [threads.submit(remove, ada, bea), threads.submit(remove, bea, ada)]
        failures = [each.exception() for each in done if each.exception()]
        assert len(failures) <= 1
        assert list(members(given, organization).values()) == ["admin"]


def test_the_last_admin_goes_with_the_organization_or_their_account(given: Fixture) -> None:
    ada = given.user()
    deleted, left = given.organization(ada), given.organization(ada)
    given.superuser.execute("delete from public.organizations where id = %s", (deleted,))
    given.superuser.execute("delete from auth.users where id = %s", (ada,))
    assert (members(given, deleted), members(given, left)) == ({}, {})
    # An operator names another.
    given.add_member(left, given.user(), "admin")


def test_a_user_is_the_admin_of_a_bounded_number_of_organizations(given: Fixture) -> None:
    ada = given.user()
    for _ in range(20):
        given.organization(ada)
    with pytest.raises(errors.DatabaseError, match="20 organizations already") as refused:
        given.organization(ada)
    assert refused.value.sqlstate == "VC008"


def test_only_the_mirror_writes_what_an_employee_speaks_with(given: Fixture) -> None:
    employee = given.employee(given.organization(given.user()))
    for forge, role in product(FORGERIES, ("service_role", "postgres")):
        with given.superuser.transaction(force_rollback=True):
            given.superuser.execute("select set_config('role', %s, true)", (role,))
            with pytest.raises(errors.InsufficientPrivilege, match="only the mirror writes"):
                given.superuser.execute(forge, (employee,))
    with pytest.raises(errors.InsufficientPrivilege, match="only the mirror writes"):
        given.superuser.execute(
            "insert into public.employees (org_id, full_name, voice_id)"
            " select org_id, 'X', 'v' from public.employees"
        )
    given.superuser.execute("update public.employees set full_name = 'Bo' where id = %s", (employee,))


# What makes the sets of organizations too large or too small; the matrix of access finds each.
SETS = [
    ("voice_clone.member_employees", "e.org_id = any", "true or e.org_id = any"),
    ("voice_clone.member_employees", "e.org_id = any", "false and e.org_id = any"),
    ("voice_clone.member_organizations", "m.user_id = auth.uid()", "true"),
    ("voice_clone.member_organizations", "'member', ", ""),
    ("voice_clone.admin_organizations", "m.user_id = auth.uid()", "true"),
    ("voice_clone.admin_organizations", "m.role::text = 'admin'", "true"),
    ("voice_clone.admin_organizations", "m.role::text = 'admin'", "m.role::text = 'member'"),
]


@pytest.mark.one_postgres
def test_a_set_of_organizations_that_is_too_large_or_too_small_is_found(given: Fixture) -> None:
    scene = Scene(given)
    sources = {
        name: given.truth("select pg_get_functiondef(%s::regproc) as source", name)["source"]
        for name, *_ in SETS
    }
    with rows.everything_granted(scene) as connection:
        tables = [table for table in rows.tables(connection) if table.is_of_organizations]
        for name, old, new in SETS:
            assert old in sources[name]
            with connection.transaction(force_rollback=True):
                connection.execute(sources[name].replace(old, new).encode())
                assert any(rows.differences(connection, scene, table) for table in tables), (name, new)


def test_an_application_role_that_is_neither_gives_no_right(given: Fixture) -> None:
    ada, bea = given.user(), given.user()
    organization = given.organization(ada)
    given.superuser.execute(
        "alter table public.organization_members drop constraint organization_members_role_check"
    )
    given.add_member(organization, bea, "invited")
    with as_user(given, bea) as client:
        assert client.execute("select from public.organizations").rowcount == 0


def test_a_member_finds_their_rows_by_an_index_however_many_organizations_there_are(given: Fixture) -> None:
    ada = given.user()
    given.employee(given.organization(ada))
    given.superuser.execute(
        "with o as (insert into public.organizations (name) select 'O' from generate_series(1, 3000)"
        " returning id), e as (insert into public.employees (org_id, full_name) select id, 'E' from o"
        " returning id) insert into public.calls (employee_id) select id from e"
    )
    given.superuser.execute("analyze public.employees, public.calls, public.organizations")
    with as_user(given, ada) as client:
        for table, index in (("employees", "employees_org_id_idx"), ("calls", "calls_employee_id_idx")):
            plan = client.execute(f"explain select * from public.{table}".encode()).fetchall()  # noqa: S608
            text = "\n".join(line for (line,) in plan)
            assert index in text, text
            assert "Seq Scan" not in text, text
