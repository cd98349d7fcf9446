"""`likeness uninstall`: what the migrations created goes, and the application keeps what is its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from scripts.migrations import MIGRATIONS, ROOT, push_migrations
from scripts.uninstall.database import remove
from scripts.uninstall.names import names
from scripts.uninstall.plan import Plan, connect, make_plan
from tests.clusters import Database
from tests.fixture import Fixture
from tests.scripts.existing_projects import PROJECTS, adopted, application_folder, apply
from tests.scripts.test_adopted_organizations import OWN

# What each project has in its catalogs: by names, so that a number that Postgres chose does not count.
CATALOG: LiteralString = """
with objects as (
  select 'pg_namespace'::regclass as classid, oid from pg_namespace where nspname !~ '^pg_(temp|toast)'
  union all select 'pg_class'::regclass, oid from pg_class
    where relnamespace not in (select oid from pg_namespace where nspname ~ '^pg_(temp|toast)')
  union all select 'pg_proc'::regclass, oid from pg_proc
    where pronamespace not in (select oid from pg_namespace where nspname ~ '^pg_temp')
  union all select 'pg_constraint'::regclass, oid from pg_constraint
  union all select 'pg_trigger'::regclass, oid from pg_trigger where not tgisinternal
  union all select 'pg_policy'::regclass, oid from pg_policy
  union all select 'pg_attrdef'::regclass, oid from pg_attrdef
  union all select 'pg_type'::regclass, oid from pg_type
    where typnamespace not in (select oid from pg_namespace where nspname ~ '^pg_(temp|toast)')
  union all select 'pg_rewrite'::regclass, oid from pg_rewrite
  union all select 'pg_extension'::regclass, oid from pg_extension
  union all select 'pg_publication'::regclass, oid from pg_publication
  union all select 'pg_default_acl'::regclass, oid from pg_default_acl
  union all select 'pg_authid'::regclass, oid from pg_authid
)
select pg_describe_object(classid, oid, 0) from objects
union all
select format('column %s.%s %s %s %s', c.oid::regclass, attname, attnum, attnotnull, atttypid::regtype)
from pg_attribute a join pg_class c on c.oid = a.attrelid
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v')
  and c.relnamespace <> 'pg_catalog'::regnamespace
union all
select format('right on %s: %s %s %s', c.oid::regclass, r.grantee::regrole, r.privilege_type, r.is_grantable)
from pg_class c cross join aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) r
where c.relkind in ('r', 'p', 'v')
union all
select format('right on %s.%s: %s %s', a.attrelid::regclass, a.attname, r.grantee::regrole, r.privilege_type)
from pg_attribute a cross join aclexplode(a.attacl) r
union all
select format('right on schema %s: %s %s', n.nspname, r.grantee::regrole, r.privilege_type)
from pg_namespace n cross join aclexplode(n.nspacl) r
union all
select format('member %s of %s', m.member::regrole, m.roleid::regrole) from pg_auth_members m
union all
select pg_get_functiondef(p.oid) from pg_proc p where p.pronamespace = 'public'::regnamespace
union all
select format('row level security of %s: %s', oid::regclass, relrowsecurity) from pg_class where relkind = 'r'
union all
select format('comment %s', d.description) from pg_description d
"""


def catalog(database: Database) -> set[str]:
    with psycopg.connect(database.superuser) as superuser:
        return {text for (text,) in superuser.execute(CATALOG)}


def uninstall(database: Database, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts", "uninstall", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database.postgres, "COLUMNS": "200", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def plan(database: Database, *, columns: bool = False) -> Plan:
    """As the command shows it, without the time of a start."""
    with connect(database.postgres) as connection:
        return make_plan(connection, columns=columns, objects=False)


def obstacles(database: Database, *, columns: bool = False) -> list[str]:
    return [each.found for each in plan(database, columns=columns).obstacles]


@pytest.fixture
def project(project: Database) -> Database:
    """Without the roles that another database of the cluster has left: they belong to no database."""
    with psycopg.connect(project.superuser) as superuser:
        superuser.execute("drop role if exists voice_clone_service, voice_clone_backend")
    return project


@contextmanager
def service_of(database: Database) -> Iterator[Fixture]:
    """A session of the service's login, which ends with the block."""
    with closing(Fixture(database)) as given:
        yield given


# Each push takes seconds; test_existing_project has a table of reflections in the ordinary run.
OFTEN = ("none", "organizations")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in OFTEN else pytest.mark.long)
        for name in ("none", *PROJECTS, "organizations")
    ],
)
def test_the_catalogs_are_as_they_were_before_the_migrations(project: Database, name: str) -> None:
    projects: dict[str, LiteralString] = {"none": "select 1", "organizations": OWN}
    apply(project, (PROJECTS | projects)[name])
    before = catalog(project)
    push_migrations(project.postgres)
    installed = catalog(project)
    assert obstacles(project, columns=True) == []
    assert catalog(project) == installed
    done = uninstall(project, "--apply", "--yes", "--columns")
    assert done.returncode == 0, done.stderr
    assert sorted(catalog(project) ^ before) == []
    assert [part for part in plan(project).parts if part.goes] == []


def test_added_columns_stay_unless_they_are_asked_for(project: Database) -> None:
    """An index of the application on such a column is in the way of the column alone."""
    apply(project, PROJECTS["closed"])
    push_migrations(project.postgres)
    apply(project, "create index on public.reflections ((voice ->> 'theme'))")
    assert obstacles(project, columns=True) == ["index reflections_expr_idx needs what would go"]
    columns = [part for part in plan(project).parts if part.part == "column"]
    assert [(part.name, part.goes) for part in columns] == [("voice of reflections", False)]
    assert uninstall(project, "--apply", "--yes").returncode == 0
    with psycopg.connect(project.postgres) as owner:
        owner.execute("select voice from public.reflections")
    push_migrations(project.postgres)


def test_the_mirror_leaves_adopted_rows_and_a_later_one_begins_again(project: Database) -> None:
    apply(project, PROJECTS["with a voice"])
    with adopted(project) as given:
        user = given.user()
        reflection = given.reflection(user)
        given.superuser.execute("""update public.reflections set voice = '{"theme": "light"}'""")
        given.launchable(user, reflection)
        assert given.mirror(reflection)["cloneStatus"] == "ready"
        untouched = given.reflection(user)
        given.superuser.execute(
            """update public.reflections set voice = '{"theme": "dark"}' where id = %s""", (untouched,)
        )
        given.superuser.execute(
            "update voice_clone.enrollments set status = 'orphaned', removal_due_at = now()"
        )
        given.superuser.execute("update voice_clone.enrollments set status = 'removing'")
        given.superuser.execute("update voice_clone.enrollments set status = 'removed'")
    assert uninstall(project, "--apply", "--yes").returncode == 0
    with psycopg.connect(project.postgres) as owner:
        found = dict(owner.execute("select id, voice from public.reflections").fetchall())
    assert found == {reflection: {"theme": "light"}, untouched: {"theme": "dark"}}
    with adopted(project) as given:
        given.queued(user, reflection)
        assert given.mirror(reflection)["cloneStatus"] == "queued"


def test_voices_at_a_provider_are_in_the_way_until_they_are_removed(database: Database) -> None:
    with service_of(database) as given:
        user = given.user()
        reflection = given.reflection(user)
        given.launchable(user, reflection)
        open_one = given.open(user, given.reflection(user))
        assert "1 sessions of voice_clone_service" in obstacles(database)
    refused = uninstall(database, "--apply", "--yes")
    assert (refused.returncode, "1 voices at local (attached)" in refused.stdout) == (1, True)
    assert "uninstall --voices --apply" in refused.stdout
    before = json.loads(uninstall(database, "--voices", "--json").stdout)
    assert before == {"applied": False, "people": 1, "failures": []}
    assert json.loads(uninstall(database, "--voices", "--apply", "--yes", "--json").stdout)["people"] == 1
    assert json.loads(uninstall(database, "--voices", "--json").stdout)["people"] == 0
    waiting = {each.found: each.remedy for each in plan(database).obstacles}
    assert "under way" in waiting.pop("1 voices at local (orphaned)")
    assert ["folders of Storage" in found for found in waiting] == [True]
    with service_of(database) as given:
        assert given.attempt(open_one)["status"] == "cancelled"
        assert given.mirror(reflection)["cloneStatus"] == "none"
        due = given.truth("select id from voice_clone.enrollments where removal_due_at <= now()")["id"]
        assert given.one("select task from voice_clone.begin_cleanup(%s)", due)["task"] == "remove"
        given.one("select voice_clone.end_cleanup(%s, 'removed', null, null, null)", due)
        given.superuser.execute("delete from voice_clone.object_removals")
    assert obstacles(database) == []


def test_the_voices_of_employees_and_of_erased_people_are_withdrawn_too(database: Database) -> None:
    with service_of(database) as given:
        admin = given.user()
        organization = given.organization(admin)
        employee = given.employee(organization)
        given.employee_consent(employee, admin)
        given.enroll(given.clone_recording(employee, admin))
        erased = given.user()
        given.launchable(erased, given.reflection(erased))
        given.superuser.execute("select operations.erase('user', %s)", (erased,))
        given.superuser.execute("update voice_clone.enrollments set removal_due_at = null")
    assert json.loads(uninstall(database, "--voices", "--apply", "--yes", "--json").stdout)["people"] == 2
    with psycopg.connect(database.superuser) as superuser:
        left = superuser.execute(
            "select status, removal_due_at <= now() from voice_clone.enrollments"
        ).fetchall()
    assert left == [("orphaned", True)] * 2


def test_an_error_of_one_person_stops_no_other(database: Database) -> None:
    with service_of(database) as given:
        users = sorted(given.user() for _ in range(3))
        for user in users:
            given.open(user, given.reflection(user))
        given.superuser.execute(
            "create function public.refuse() returns trigger language plpgsql as"
            " $$ begin raise 'not this one'; end $$"
        )
        given.superuser.execute(
            f"create trigger refuse before update on public.voice_clone_attempts for each row"
            f" when (old.user_id = '{users[1]}') execute function public.refuse()".encode()
        )
    done = uninstall(database, "--voices", "--apply", "--yes", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["people"], len(told["failures"])) == (1, 3, 1)
    assert f"user {users[1]}: not this one" in done.stderr
    assert json.loads(uninstall(database, "--voices", "--json").stdout)["people"] == 1


def test_storage_that_does_not_answer_stops_it_before_the_database(database: Database) -> None:
    before = catalog(database)
    dead = {"SUPABASE_URL": "http://127.0.0.1:9", "SUPABASE_SECRET_KEY": "sb_secret_x"}
    done = uninstall(database, "--objects", "--apply", "--yes", **dead)
    assert (done.returncode, "nothing else was removed" in done.stderr) == (1, True)
    assert catalog(database) == before


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_it_asks_first_on_a_terminal(database: Database, answer: str, code: int) -> None:
    keyboard, terminal = os.openpty()
    with os.fdopen(keyboard, "w") as typed, os.fdopen(terminal) as stdin:
        typed.write(f"{answer}\n")
        typed.flush()
        done = subprocess.run(
            [sys.executable, "-m", "scripts", "uninstall", "--apply"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": database.postgres},
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert (done.returncode, f"database {database.name} at " in done.stderr) == (code, True)
    assert bool(plan(database).is_installed) == (answer == "n")


def test_an_open_erasure_and_objects_to_remove_are_in_the_way(database: Database) -> None:
    with service_of(database) as given:
        user = given.user()
        given.open(user, given.reflection(user))
        given.superuser.execute("select operations.place_hold(%s, 'a claim')", (user,))
        given.superuser.execute("select operations.erase('user', %s)", (user,))
    assert obstacles(database) == [
        "1 erasures are not complete", "1 legal holds", "4 folders of Storage are not emptied yet"
    ]  # fmt: skip
    with_objects = {"SUPABASE_URL": "http://127.0.0.1:9", "SUPABASE_SECRET_KEY": "sb_secret_x"}
    refused = uninstall(database, "--objects", "--apply", "--yes", **with_objects)
    assert (refused.returncode, "1 legal holds" in refused.stdout) == (1, True)
    remarks = uninstall(database).stdout
    assert "which an application may use: reflections (1 rows)" in remarks
    assert "Lost for good: 1 signed consents" in remarks
    assert "likeness export user ID" in remarks


# What an application may make of ours, and how the report names it.
DEPENDENTS: dict[str, LiteralString] = {
    "rule _RETURN on view spoken": "create view public.spoken as select id, name from public.voices",
    "constraint notes_reflection_id_fkey on table notes": """create table public.notes (
        reflection_id uuid references public.reflections (id))""",
    "policy Members on table papers": """create table public.papers (org_id uuid);
        create policy "Members" on public.papers
        using (org_id in (select voice_clone.member_organizations()))""",
    "default value for column made of table logs": """create table public.logs (
        made boolean default voice_clone.is_withdrawn(null))""",
    "function first_voice(voices)": """create function public.first_voice(v public.voices) returns text
        language sql as 'select v.name'""",
    "policy Own samples on table storage.objects": """create policy "Own samples" on storage.objects
        for delete to authenticated using (not voice_clone.is_being_removed(bucket_id, name))""",
    "trigger log_it on table jottings": """create table public.jottings (id int);
        create trigger log_it after insert on public.jottings
        for each row execute function voice_clone.receive_object()""",
}


def test_what_the_application_made_of_ours_is_named_and_nothing_is_removed(database: Database) -> None:
    with psycopg.connect(database.postgres, autocommit=True) as owner:
        for sql in DEPENDENTS.values():
            owner.execute(sql)
    before = catalog(database)
    assert set(obstacles(database)) == {f"{name} needs what would go" for name in DEPENDENTS}
    refused = uninstall(database, "--apply", "--yes", "--json")
    told = json.loads(refused.stdout)
    assert (refused.returncode, told["applied"], len(told["obstacles"])) == (1, False, len(DEPENDENTS))
    assert "view spoken" in refused.stdout
    assert catalog(database) == before


def test_functions_that_name_ours_are_told_and_those_in_our_schema_stay(database: Database) -> None:
    with psycopg.connect(database.postgres) as owner:
        owner.execute("""
            create function public.swept() returns bigint language plpgsql as $$
            begin return (select count(*) from operations.sweep(1)); end $$;
            create function operations.mine() returns int language sql as 'select 1';
        """)
    planned = plan(database)
    assert planned.mentions == ["swept()"]
    assert [part.name for part in planned.parts if part.part == "schema" and not part.goes] == ["operations"]
    assert "swept() names ours" in uninstall(database, "--apply", "--yes").stdout
    with psycopg.connect(database.postgres) as owner:
        assert owner.execute("select operations.mine()").fetchone() == (1,)
        left = owner.execute(
            "select proname from pg_proc where pronamespace = 'operations'::regnamespace"
        ).fetchall()
        assert left == [("mine",)]


def test_a_queue_of_the_application_and_roles_of_another_database_stay(database: Database) -> None:
    roles = [part for part in plan(database).parts if part.part == "role"]
    assert [part.goes for part in roles] == [False, False]
    with psycopg.connect(database.postgres) as owner:
        owner.execute("select pgmq.create('theirs')")
    assert uninstall(database, "--apply", "--yes").returncode == 0
    with psycopg.connect(database.superuser) as superuser:
        assert superuser.execute("select queue_name from pgmq.list_queues()").fetchall() == [("theirs",)]
        left = superuser.execute(
            "select roleid::regrole::text from pg_auth_members where member = 'voice_clone_service'::regrole"
        ).fetchall()
    assert {("voice_clone_backend",), ("authenticated",)} <= set(left)


def test_a_newer_schema_is_in_the_way(database: Database) -> None:
    with psycopg.connect(database.postgres) as owner:
        owner.execute("""create or replace function voice_clone.schema_version()
            returns table (version int, oldest_service int) language sql as 'select 99, 1'""")
    assert obstacles(database) == ["the schema has version 99"]


def test_pg_cron_and_the_vault_lose_what_the_runbooks_gave_them(database: Database) -> None:
    database.cluster.add_cron(database.name)
    with psycopg.connect(database.postgres) as owner:
        owner.execute("""insert into cron.job (jobname, schedule, command) values
            ('likeness-sweep', '5 seconds', 'select * from operations.sweep(500)'),
            ('nightly', '0 3 * * *', 'select operations.sweep(1)'), ('theirs', '0 4 * * *', 'select 1')""")
        owner.execute("""insert into vault.secrets (name, secret) values
            ('likeness_url', 'https://…'), ('theirs', 'x')""")
    assert obstacles(database) == ["the cron job nightly calls our functions"]
    with psycopg.connect(database.postgres) as owner:
        owner.execute("delete from cron.job where jobname = 'nightly'")
    assert uninstall(database, "--apply", "--yes").returncode == 0
    with psycopg.connect(database.postgres) as owner:
        assert owner.execute("select jobname from cron.job").fetchall() == [("theirs",)]
        assert owner.execute("select name from vault.secrets").fetchall() == [("theirs",)]


def test_an_interrupted_run_changes_nothing_and_the_next_completes_it(database: Database) -> None:
    before = catalog(database)
    with psycopg.connect(database.superuser, autocommit=True) as superuser:
        with psycopg.connect(database.superuser) as other:
            other.execute("select count(*) from public.voices")
            running = subprocess.Popen(
                [sys.executable, "-m", "scripts", "uninstall", "--apply", "--yes"],
                cwd=ROOT,
                env={**os.environ, "DATABASE_URL": database.postgres},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            until_waiting(superuser)
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=60)
        assert (running.returncode, "Run the command again" in said) == (130, True)
    assert catalog(database) == before
    assert uninstall(database, "--apply", "--yes").returncode == 0


def until_waiting(superuser: psycopg.Connection) -> None:
    for _ in range(3000):
        if superuser.execute(
            "select from pg_locks l where not l.granted and l.mode = 'AccessExclusiveLock'"
        ).rowcount:
            return
        superuser.execute("select pg_sleep(0.01)")
    raise AssertionError("the uninstall waits for no lock")


def test_an_installation_that_stopped_halfway_is_removed(project: Database, tmp_path: Path) -> None:
    before = catalog(project)
    folder = application_folder(tmp_path, "select 1")
    ours = sorted(MIGRATIONS.glob("*.sql"))
    for first, last in ((0, 2), (2, 12)):
        for path in ours[first:last]:
            (folder / "supabase" / "migrations" / path.name).write_text(path.read_text())
        push_migrations(project.postgres, folder)
        with connect(project.postgres) as connection:
            remove(connection, columns=True, objects=False)
        assert sorted(catalog(project) ^ before) == []


def test_the_folder_and_the_history_keep_what_is_the_applications(project: Database, tmp_path: Path) -> None:
    folder = application_folder(tmp_path, PROJECTS["with a voice"])
    migrations = folder / "supabase" / "migrations"
    (folder / "supabase" / "config.toml").write_text(
        'project_id = "application"\n[api]\nschemas = ["public", "operations"]\n'
    )
    install = [sys.executable, "-m", "scripts", "install", str(folder)]
    subprocess.run(install, cwd=ROOT, check=True, capture_output=True)
    push_migrations(project.postgres, folder)
    changed = max(path.name for path in MIGRATIONS.glob("*.sql"))
    (migrations / changed).write_text("select 2")
    told = uninstall(project, str(folder)).stdout
    assert f"{changed}" in told
    assert 'Take "operations" out of [api].schemas' in told
    assert len(list(migrations.glob("*.sql"))) > 2
    assert uninstall(project, str(folder), "--apply", "--yes").returncode == 0
    assert sorted(path.name for path in migrations.glob("*")) == ["20250101000000_application.sql", changed]
    with psycopg.connect(project.postgres) as owner:
        history = owner.execute("select version from supabase_migrations.schema_migrations").fetchall()
    assert history == [("20250101000000",)]
    (migrations / changed).unlink()
    assert "up to date" in push_migrations(project.postgres, folder)
    subprocess.run(install, cwd=ROOT, check=True, capture_output=True)
    assert "_installation.sql" in push_migrations(project.postgres, folder)


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["--apply"], {}, "--yes"),
        ([], {"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        (["--objects"], {"SUPABASE_URL": "", "SUPABASE_SECRET_KEY": ""}, "SUPABASE_SECRET_KEY"),
        (["/"], {}, "supabase init"),
    ],
)
def test_wrong_usage_is_refused(
    database: Database, arguments: list[str], variables: dict[str, str], message: str
) -> None:
    done = uninstall(database, *arguments, **variables)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_every_name_that_the_migrations_create_is_in_the_lists(database: Database) -> None:
    given = names()
    with psycopg.connect(database.superuser) as superuser:
        tables = superuser.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
        ).fetchall()
        functions = superuser.execute("""select distinct format('%s.%s', pronamespace::regnamespace, proname)
            from pg_proc where pronamespace in ('public'::regnamespace, 'operations'::regnamespace)
            """).fetchall()
        keys = superuser.execute("""select distinct convert_from(k, 'utf8') from pg_trigger t,
            lateral unnest(string_to_array(encode(t.tgargs, 'hex'), '00')) x, lateral decode(x, 'hex') k
            where t.tgname = 'voice_clone_protect_mirror_keys' and x <> ''""").fetchall()
    adoptable = {"reflections", "organizations", "organization_members", "employees", "calls"}
    assert {name for (name,) in tables} == {*given["tables"]} | adoptable
    assert {name for (name,) in functions} == {*given["functions"]}
    assert {name for (name,) in keys} == {*given["keys"]}
