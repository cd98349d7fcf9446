"""An application's own project: install, push, start, clone, speak, upgrade, uninstall; its checks pass."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest

from scripts.local.main_job import run_main_job, speech_seconds
from scripts.local.supabase.postgres import DEFAULT_VERSION, Cluster
from scripts.local.supabase.stack import Stack, running_stack
from scripts.migrations import ROOT, push_migrations
from tests.clusters import SPEED, Database, cloned_database, temporary_directory
from tests.end_to_end.conftest import Idle, Product
from tests.scripts.existing_projects import application_folder
from tests.scripts.test_pgtap import FILES, add_pgtap, failures, tap
from tests.scripts.test_uninstall import catalog
from tests.simulators import Simulator
from tests.wheels import build_wheel, install_wheel

# With tables, rows, functions, triggers, policies and rights of its own.
APPLICATION: LiteralString = """
create schema app;
grant usage on schema app to authenticated;
create table public.reflections (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  name text not null default 'Untitled' check (length(name) < 200),
  voice jsonb not null default '{"theme": "light"}',
  changes int not null default 0
);
alter table public.reflections enable row level security;
create policy "Everyone reads names" on public.reflections for select to anon using (true);
create policy "Owners do everything" on public.reflections for all to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create table app.history (id bigint primary key generated always as identity, name text);
create function app.initials(name text) returns text language sql immutable as $$ select left(name, 1) $$;
create function public.keep_history() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  new.changes := old.changes + 1;
  insert into app.history (name) values (new.name);
  return new;
end $$;
create trigger keep_history before update on public.reflections
  for each row execute function public.keep_history();
create view app.names with (security_invoker = true) as
  select id, name, app.initials(name) as initials from public.reflections;
grant select on app.names to authenticated;
insert into auth.users (id, email) values ('00000000-0000-4000-8000-000000000001', 'own@example.org');
insert into public.reflections (user_id, name) values ('00000000-0000-4000-8000-000000000001', 'Own');
"""
LATER = "20261122003000_storage_policies.sql"  # what an earlier release did not have
HELD = "select from voice_clone.enrollments where status not in ('closed', 'removed') limit 1"


def application_works(dsn: str) -> None:
    """The checks of the application, as its clients and its operators; each leaves the rows as they were."""
    with psycopg.connect(dsn) as owner:
        user = str(uuid4())
        owner.execute("insert into auth.users (id, email) values (%s, %s)", (user, f"{user}@example.org"))
        claims = json.dumps({"sub": user, "role": "authenticated"})
        owner.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        owner.execute("set local role authenticated")
        owner.execute("insert into public.reflections (name) values ('Bo')")
        owner.execute("update public.reflections set name = 'Cy', voice = voice || '{\"theme\": \"dark\"}'")
        seen = owner.execute("select name, initials from app.names").fetchall()
        changes = owner.execute("select changes, voice ->> 'theme' from public.reflections").fetchall()
        owner.execute("set local role anon")
        names = owner.execute("select name from public.reflections order by name").fetchall()
        owner.execute("reset role")
        kept = owner.execute("select name from app.history order by id desc limit 1").fetchall()
        own = owner.execute("select voice, changes from public.reflections where name = 'Own'").fetchall()
        owner.rollback()
    assert (seen, changes, kept) == ([("Cy", "C")], [(1, "dark")], [("Cy",)])
    assert {("Own",), ("Cy",)} <= set(names)
    assert own == [({"theme": "light"}, 0)]


class Installation:
    """Likeness as a checkout or as an installed wheel: `home` has its packages."""

    def __init__(self, home: Path, project: Path) -> None:
        self.home = home
        self.project = project

    async def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "scripts", *arguments],
            cwd=self.home,
            env={**os.environ, "ENV_FILE": "", "PYTHONPATH": str(self.home), **variables},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return done  # noqa: RET504 - the overloads of to_thread

    async def install(self) -> dict[str, Any]:
        done = await self.run("install", str(self.project), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @asynccontextmanager
    async def started(self, stack: Stack, env: dict[str, str]) -> AsyncIterator[None]:
        python = sys.executable
        env = env | {"PYTHONPATH": str(self.home)}
        service = await stack.processes.start(
            "service", [python, "-m", "scripts", "serve"], env, cwd=self.home
        )
        consumers = await stack.processes.start(
            "consumers", [python, "-m", "scripts", "work"], env, cwd=self.home
        )
        await service.await_url(f"{stack.api_url}/health/ready")
        await consumers.await_output("listening")
        yield
        for child in (consumers, service):
            await stack.processes.stop(child)


@pytest.fixture(params=["checkout", pytest.param("wheel", marks=pytest.mark.long)])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    project = application_folder(tmp_path / "application", APPLICATION)
    if request.param == "checkout":
        return Installation(ROOT, project)
    return Installation(install_wheel(build_wheel(tmp_path), tmp_path / "installed"), project)


def check_by_pgtap(cluster: Cluster) -> None:
    """The tests that came with the migrations, in a copy: the functions of pgTAP stay in no project."""
    cluster.set_passwords()
    with cloned_database(cluster) as database:
        add_pgtap(database)
        for file in FILES:
            assert failures(tap(database, file)) == [], file


def files_of(folder: Path) -> list[str]:
    """Without what the CLI keeps for itself, in a folder .temp."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != ".temp")
    return sorted(path.name for path in found)


def database_of(cluster: Cluster) -> Database:
    return Database(cluster, "postgres", cluster.dsn(), cluster.dsn("postgres"), "")


async def test_an_application_keeps_what_is_its_own(
    installation: Installation, providers: Simulator, sample: Path, tmp_path: Path
) -> None:
    with temporary_directory() as directory:
        cluster = Cluster(directory / f"postgres-{DEFAULT_VERSION}", DEFAULT_VERSION)
        cluster.start(settings=SPEED)
        push_migrations(cluster.dsn("postgres"), installation.project)
        application_works(cluster.dsn())
        cluster.add_realtime()
        before = catalog(database_of(cluster))
        await installation.install()
        migrations = installation.project / "supabase" / "migrations"
        (migrations / LATER).unlink()
        push_migrations(cluster.dsn("postgres"), installation.project)
        application_works(cluster.dsn())
        assert (await installation.install())["added"] == [LATER]
        push_migrations(cluster.dsn("postgres"), installation.project)
        check_by_pgtap(cluster)
        cluster.stop()
        providers.reset()
        async with running_stack(directory, postgres_settings=SPEED) as stack:
            await use_and_remove(stack, providers, installation, sample, tmp_path / "speech.wav")
            assert sorted(catalog(database_of(stack.cluster)) ^ before) == []
            application_works(stack.cluster.dsn())
            assert files_of(installation.project) == ["20250101000000_application.sql", "config.toml"]
            assert "up to date" in push_migrations(stack.cluster.dsn("postgres"), installation.project)
            assert LATER in (await installation.install())["added"]
            push_migrations(stack.cluster.dsn("postgres"), installation.project)
            application_works(stack.cluster.dsn())


async def use_and_remove(
    stack: Stack, providers: Simulator, installation: Installation, sample: Path, speech: Path
) -> None:
    product = Product(stack, providers, Idle(stack))
    stack.simulator_url = providers.url
    stack.api_url = f"http://127.0.0.1:{stack.ports.take()}"
    env = product.environment(VOICE_PROVIDER="qwen")
    owner = {
        "DATABASE_URL": stack.cluster.dsn("postgres"),
        "SUPABASE_URL": stack.supabase_url,
        "SUPABASE_SECRET_KEY": stack.secret_key,
    }
    async with installation.started(stack, env):
        result = await run_main_job(stack, "qwen", sample, None, speech)
        assert (result.launchable, result.provider) == (True, "qwen")
        assert await asyncio.to_thread(speech_seconds, speech) > 1
        application_works(stack.cluster.dsn())
        refused = await installation.run("uninstall", "--apply", "--yes", **owner)
        assert (refused.returncode, "1 voices at qwen" in refused.stdout) == (1, True)
        assert len(providers.voices("qwen")) == 1
        queued = await installation.run("uninstall", "--voices", "--apply", "--yes", **owner)
        assert queued.returncode == 0, queued.stderr
        await product.until(f"select where not exists ({HELD})")
        assert providers.voices("qwen") == []
    options = ("--objects", "--columns", "--apply", "--yes")
    done = await installation.run("uninstall", str(installation.project), *options, **owner)
    assert done.returncode == 0, done.stdout + done.stderr
    assert product.row("select (select count(*) from storage.buckets) as left")["left"] == 0
