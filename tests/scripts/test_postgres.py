"""The embedded cluster looks to a migration like a hosted project."""

import json

import psycopg
import pytest

from scripts.local.supabase.postgres import Cluster
from tests.clusters import Database


def test_each_test_gets_a_migrated_database_of_its_own(database: Database) -> None:
    with psycopg.connect(database.service) as service:
        row = service.execute("select current_database(), current_user").fetchone()
    assert row == (database.name, "voice_clone_service")


@pytest.mark.parametrize("role", ["postgres", "voice_clone_service"])
def test_no_role_of_the_product_is_a_superuser(database: Database, role: str) -> None:
    with psycopg.connect(database.superuser) as admin:
        row = admin.execute("select rolsuper from pg_roles where rolname = %s", [role]).fetchone()
    assert row == (False,)


def test_migrations_may_make_policies_and_triggers_on_storage_objects(database: Database) -> None:
    with psycopg.connect(database.postgres) as owner:
        owner.execute('create policy "Anyone may look." on storage.objects for select to anon using (true)')
        owner.execute(
            "create function public.note() returns trigger language plpgsql as 'begin return new; end';"
            "create trigger note after insert on storage.objects for each row execute function public.note();"
            "create trigger note after insert on auth.users for each row execute function public.note()"
        )


def test_auth_functions_read_either_form_of_claims(database: Database) -> None:
    user = "6f0e5d4c-0000-4000-8000-000000000001"
    with psycopg.connect(database.postgres) as connection:
        claims = json.dumps({"sub": user, "role": "authenticated"})
        connection.execute("select set_config('request.jwt.claims', %s, true)", [claims])
        row = connection.execute("select auth.uid()::text, auth.role(), auth.jwt() ->> 'sub'").fetchone()
    assert row == (user, "authenticated", user)


def test_a_row_of_storage_is_deleted_by_the_storage_server_only(database: Database) -> None:
    with (
        psycopg.connect(database.postgres) as owner,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="Use the Storage API"),
    ):
        owner.execute("delete from storage.objects")


def test_a_crashed_cluster_comes_back_with_what_was_committed(own_cluster: Cluster) -> None:
    with own_cluster.connect("postgres") as connection:
        connection.execute("create table public.kept as select 1 as one")
    port = own_cluster.port
    own_cluster.stop(immediately=True)
    own_cluster.start(port=port)
    assert own_cluster.port == port
    with own_cluster.connect("postgres") as connection:
        assert connection.execute("select one from public.kept").fetchone() == (1,)
