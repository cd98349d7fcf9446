"""Only the mirror writes its keys: not with a setting, not with its pass, not from its triggers."""

import json
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from tests.database.invariants import FIRST_MIRROR
from tests.fixture import Fixture, Row

FORGE: LiteralString = (
    """update public.reflections set voice = voice || '{"cloneStatus": "ready"}' where id = %s"""
)
CLIENTS = ("anon", "authenticated", "service_role", "voice_clone_backend", "voice_clone_service")


@pytest.fixture
def reflection(given: Fixture) -> UUID:
    """One whose mirror is behind."""
    user = given.user()
    made = given.reflection(user)
    given.queued(user, made)
    return made


def forged(connection: psycopg.Connection[Row], reflection: UUID) -> None:
    with pytest.raises(errors.InsufficientPrivilege, match="only the mirror writes"):
        connection.execute(FORGE, (reflection,))


def test_a_role_that_writes_voices_forges_no_mirror_with_a_setting(given: Fixture, reflection: UUID) -> None:
    for guess in ("", "on", "voice_clone_mirror", "0" * 64):
        with given.superuser.transaction(force_rollback=True):
            given.superuser.execute(
                "select set_config('voice_clone.mirror_pass', %s, true),"
                " set_config('role', 'service_role', true)",
                (guess,),
            )
            forged(given.superuser, reflection)


def test_nobody_but_the_owner_reads_the_key_or_computes_a_pass(given: Fixture) -> None:
    for role in CLIENTS:
        allowed = given.truth(
            "select has_table_privilege(%s, 'voice_clone.mirror_key', 'select, insert, update') as key,"
            " has_any_column_privilege(%s, 'voice_clone.mirror_key', 'select, insert, update') as value,"
            " has_function_privilege(%s, 'voice_clone.mirror_pass(int)', 'execute') as pass,"
            " has_function_privilege(%s, 'voice_clone.write_mirrors(uuid[])', 'execute') as writes,"
            " has_table_privilege(%s, 'public.reflections', 'trigger') as fires",
            *[role] * 5,
        )
        assert not any(allowed.values()), (role, allowed)


LEAK: LiteralString = """
create table public.leaked (pass text);
grant all on public.leaked to public;
create function public.leak() returns trigger language plpgsql as $$
begin
  insert into public.leaked values (current_setting('voice_clone.mirror_pass', true));
  return new;
end $$;
create trigger leak before update on public.reflections for each row execute function public.leak();
create function public.forge_later() returns trigger language plpgsql security definer as $$
begin
  perform set_config('voice_clone.mirror_pass', (select min(pass) from public.leaked where pass <> ''), true);
  update public.reflections set voice = voice || '{"cloneStatus": "ready"}' where id = new.id;
  return null;
end $$;
create constraint trigger forge_later after update on public.reflections initially deferred
  for each row when (pg_trigger_depth() = 0) execute function public.forge_later()
"""


def test_a_pass_that_a_trigger_took_opens_nothing_later(given: Fixture, reflection: UUID) -> None:
    given.superuser.execute(LEAK)
    mirror = "select voice_clone.mirror_reflections(array[%s]::uuid[])"
    with pytest.raises(errors.InsufficientPrivilege, match="only the mirror writes"):
        given.service.execute(mirror, (reflection,))  # at the commit, in the same transaction
    given.superuser.execute("drop trigger forge_later on public.reflections")
    given.service.execute(mirror, (reflection,))
    assert given.voice(reflection)["cloneStatus"] == "queued"
    taken = given.truth("select pass from public.leaked")["pass"]
    assert len(taken) == 64
    with given.superuser.transaction(force_rollback=True):
        given.superuser.execute("select set_config('voice_clone.mirror_pass', %s, true)", (taken,))
        forged(given.superuser, reflection)


def test_the_mirrors_pass_does_not_outlive_its_write(given: Fixture, reflection: UUID) -> None:
    with given.service.transaction():
        given.mirror(reflection)
        setting = given.one("select current_setting('voice_clone.mirror_pass') as pass")
    assert (setting["pass"], given.voice(reflection)["cloneStatus"]) == ("", "queued")


OTHERS: LiteralString = """
create function public.forge_others() returns trigger language plpgsql as $$
begin
  update public.reflections r set voice = r.voice || '{"cloneStatus": "ready"}'
  where r.id <> new.id and pg_trigger_depth() = 1;
  return null;
end $$;
create trigger forge_others after update on public.reflections
  for each row execute function public.forge_others()
"""


def test_a_trigger_that_the_mirror_fires_writes_no_other_mirror(given: Fixture, reflection: UUID) -> None:
    other = given.reflection(given.user())
    given.superuser.execute(OTHERS)
    with pytest.raises(errors.InsufficientPrivilege, match="only the mirror writes"):
        given.mirror(reflection)
    assert given.voice(reflection) == given.voice(other) == FIRST_MIRROR


CHANGES: LiteralString = """
create function public.change_mirror() returns trigger language plpgsql as $$
begin
  new.voice := new.voice || '{"cloneStatus": "ready"}';
  return new;
end $$;
create trigger change_mirror before update on public.reflections
  for each row execute function public.change_mirror()
"""


def test_a_trigger_that_the_mirror_fires_changes_no_key_of_it(given: Fixture, reflection: UUID) -> None:
    given.superuser.execute(CHANGES)
    with pytest.raises(errors.InsufficientPrivilege, match="changes keys of voice"):
        given.mirror(reflection)
    assert given.voice(reflection) == FIRST_MIRROR


def test_without_a_key_nothing_is_written(given: Fixture, reflection: UUID) -> None:
    given.superuser.execute("delete from voice_clone.mirror_key")
    with pytest.raises(errors.InsufficientPrivilege, match="only the mirror writes"):
        given.mirror(reflection)
    forged(given.superuser, reflection)


INSERT = "insert into public.reflections (user_id, name, voice) values (%s, 'Ada', %s) returning id, voice"


@pytest.mark.parametrize(
    "own", [{}, {"theme": "dark", "sizes": [1, 2]}, {"theme": None}, FIRST_MIRROR | {"theme": "dark"}]
)
def test_a_new_row_has_every_key_and_those_of_the_application(given: Fixture, own: dict[str, Any]) -> None:
    row = given.truth(INSERT, given.user(), json.dumps(own))
    assert row["voice"] == FIRST_MIRROR | own


def test_a_new_row_of_a_client_and_a_new_employee_have_every_key(given: Fixture) -> None:
    user = given.user()
    claims = json.dumps({"sub": str(user), "role": "authenticated"})
    with given.superuser.transaction():
        given.superuser.execute(
            "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)",
            (claims,),
        )
        added = "insert into public.reflections (name) values ('Ada') returning voice"
        assert given.truth(added)["voice"] == FIRST_MIRROR
    employee = given.employee(given.organization(user))
    assert given.truth("select voice from public.employees where id = %s", employee)["voice"] == FIRST_MIRROR


def test_an_application_that_writes_its_voice_before_the_first_clone_loses_no_key(given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    for own in ({"theme": "dark"}, {"theme": "light", "size": 2}, {}):
        given.superuser.execute(
            "update public.reflections set voice = %s where id = %s", (json.dumps(own), reflection)
        )
        assert given.voice(reflection) == FIRST_MIRROR | own
    upsert: LiteralString = (
        "insert into public.reflections (id, user_id, name, voice) values (%s, %s, 'Ada', %s)"
        " on conflict (id) do update set voice = excluded.voice returning voice"
    )
    assert given.truth(upsert, reflection, user, '{"size": 3}')["voice"] == FIRST_MIRROR | {"size": 3}
    given.queued(user, reflection)
    shown = given.mirror(reflection)
    with pytest.raises(errors.InsufficientPrivilege, match="only the mirror writes"):
        given.superuser.execute(
            "update public.reflections set voice = %s where id = %s", ('{"size": 4}', reflection)
        )
    assert given.voice(reflection) == shown


@pytest.mark.parametrize(
    "forged",
    [{"cloneStatus": "ready"}, {"version": 1}, {"error": {}}, {"updatedAt": "2026-11-22T10:00:00.000000Z"}],
)
def test_a_new_row_has_no_other_mirror_than_the_first(given: Fixture, forged: dict[str, Any]) -> None:
    with pytest.raises(errors.InsufficientPrivilege, match="only the mirror writes"):
        given.superuser.execute(INSERT, (given.user(), json.dumps(forged)))
