"""Who may do what: a matrix from the catalog, compared with the expectations of tests/database/access."""

import json
from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from tests.clusters import Database
from tests.database.access import grants, rows
from tests.database.access.grants import Connection
from tests.database.access.scene import BUCKETS, Scene
from tests.fixture import Fixture

DENIED = "denied"


@pytest.fixture
def superuser(database: Database) -> Iterator[Connection]:
    """One transaction, rolled back at the end."""
    with psycopg.connect(database.superuser) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def scene(given: Fixture) -> Scene:
    return Scene(given)


def test_each_role_has_the_rights_that_are_written(superuser: Connection) -> None:
    assert grants.every_difference(superuser) == []


def test_each_actor_reaches_the_rows_that_are_written(scene: Scene) -> None:
    with rows.everything_granted(scene) as connection:
        assert [
            line for table in rows.tables(connection) for line in rows.differences(connection, scene, table)
        ] == []


def test_each_bucket_is_known_and_private(given: Fixture) -> None:
    rows = given.superuser.execute("select id, public from storage.buckets").fetchall()
    assert {row["id"]: row["public"] for row in rows} == dict.fromkeys(BUCKETS, False)


UNKNOWN = "notes has no written expectation. Write in "
UNWRITTEN = {
    "create table voice_clone.notes (id int)": f"voice_clone.{UNKNOWN}RELATIONS",
    "create table public.notes (id int)": "notes has no row level security: enable it",
    "create view public.notes as select 1 as id": f"public.{UNKNOWN}RELATIONS",
    "create sequence voice_clone.notes": f"voice_clone.{UNKNOWN}RELATIONS",
    "alter table public.voices add column note text; grant update (note) on public.voices to authenticated":
        "public.voices grants",
    "create function voice_clone.note() returns int language sql return 1":
        "voice_clone.note() may be executed by anon, authenticated, ",
    "create schema notes": f"{UNKNOWN}SCHEMAS",
    "create role visitor in role service_role": "visitor has no written expectation. Write in MEMBERSHIPS",
    "create role visitor bypassrls": "the role visitor has the attributes 'bypassrls'",
}  # fmt: skip


def test_what_has_no_written_expectation_is_named_with_the_place_to_write_it(superuser: Connection) -> None:
    for statement, expected in UNWRITTEN.items():
        with superuser.transaction(force_rollback=True):
            superuser.execute(statement.encode())
            found = [line for line in grants.every_difference(superuser) if expected in line]
        assert found, statement
        assert "tests/database/access/expected.py" in found[0] or "row level security" in expected


def test_a_table_without_written_rows_or_without_a_row_is_named(scene: Scene) -> None:
    with rows.everything_granted(scene) as connection:
        connection.execute("create table public.notes (id int primary key, user_id uuid, at timestamptz)")
        connection.execute("alter table public.notes enable row level security")
        table = next(table for table in rows.tables(connection) if table.name == "public.notes")
        with pytest.raises(AssertionError, match=r"public\.notes has no row: insert one in Scene"):
            rows.differences(connection, scene, table)
        connection.execute(
            "insert into public.notes values (1, %s, now()), (2, %s, now())", (scene.owner, scene.other)
        )
        (found,) = rows.differences(connection, scene, table)
        assert found.startswith(
            "public.notes has no written expectation. Write in ROWS of tests/database/access"
        )


# With the rights that are really granted, and the triggers: rows touched, `denied`, or an SQLSTATE.
TRIES = {
    #                            anon     owner    stranger  service  service_role
    "insert into public.reflections (name) values ('mine')":
                                (DENIED, 1,       1,        DENIED,  "23502"),
    "insert into public.reflections (user_id, name) values (%(owner)s, 'x')":
                                (DENIED, DENIED,  DENIED,   DENIED,  1),
    "update public.reflections set name = 'new' where id = %(reflection)s":
                                (DENIED, 1,       0,        0,       1),
    "delete from public.reflections where id = %(reflection)s":
                                (DENIED, 1,       0,        0,       1),
    "update public.reflections set voice = '{\"version\": 99}' where id = %(reflection)s":
                                (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "update public.reflections set user_id = %(stranger)s where id = %(reflection)s":
                                (DENIED, DENIED,  DENIED,   DENIED,  1),
    "update public.voice_clone_attempts set status = 'ready'":
                                (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "select status from public.voice_clone_attempts where reflection_id = %(reflection)s and is_active":
                                (DENIED, 1,       0,        0,       1),
    "select lease_owner, lease_epoch from public.voice_clone_attempts":
                                (DENIED, DENIED,  DENIED,   DENIED,  14),
    "select * from public.voice_clone_attempts":
                                (DENIED, DENIED,  DENIED,   DENIED,  14),
    "select from voice_clone.sweep(10)":
                                (DENIED, DENIED,  DENIED,   0,       DENIED),
    "select from operations.sweep(10)":
                                (DENIED, DENIED,  DENIED,   0,       0),
    "select pgmq.send('voice_clone_process', '{}'::jsonb, 0)":
                                (DENIED, DENIED,  DENIED,   DENIED,  DENIED),
    "select public.voice_launch_gate(%(reflection)s)":
                                (DENIED, 1,       1,        1,       DENIED),
    "select from storage.objects where bucket_id = 'voice-samples'":
                                (0,      1,       0,        0,       2),
    "insert into storage.objects (bucket_id, name) values ('voice-samples', %(owner)s::text || '/b.wav')":
                                (DENIED, DENIED,  DENIED,   DENIED,  1),
}  # fmt: skip
ACTORS = ("anon", "owner", "stranger", "service", "service_role")


def test_each_actor_does_what_is_theirs_alone(scene: Scene) -> None:
    found = {sql: tuple(try_as(scene, actor, sql) for actor in ACTORS) for sql in TRIES}
    assert found == TRIES


def try_as(scene: Scene, actor: str, sql: str) -> int | str:
    users: dict[str, UUID] = {"owner": scene.owner, "stranger": scene.stranger}
    role = "authenticated" if actor in users else actor
    claims = {"role": role, **({"sub": str(users[actor])} if actor in users else {})}
    database = scene.database
    with psycopg.connect(database.service if actor == "service" else database.superuser) as connection:
        if actor != "service":
            connection.execute(
                "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
                (role, json.dumps(claims)),
            )
        parameters = {"owner": scene.owner, "stranger": scene.stranger, "reflection": scene.reflection}
        try:
            return connection.execute(sql.encode(), parameters).rowcount
        except errors.InsufficientPrivilege:
            return DENIED
        except psycopg.Error as error:
            return str(error.sqlstate)
        finally:
            connection.rollback()


def test_no_function_of_ours_may_be_called_by_everyone(given: Fixture) -> None:
    """Each definer function has an empty search path and no grant to public."""
    loose = given.superuser.execute("""
        select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace::regnamespace::text in ('voice_clone', 'operations', 'public')
          and (has_function_privilege('anon', p.oid, 'execute')
            or not coalesce(p.proconfig @> array['search_path=""'], false))
    """).fetchall()
    assert loose == []


def test_the_service_owns_nothing_and_is_no_superuser(given: Fixture) -> None:
    role = given.truth(
        "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles"
        " where rolname = 'voice_clone_service'"
    )
    assert not any(role.values())
    owned = given.truth(
        "select count(*) from pg_shdepend where refobjid = 'voice_clone_service'::regrole and deptype = 'o'"
    )
    assert owned["count"] == 0
