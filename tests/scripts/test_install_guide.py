"""docs/install.md as it is written, block after block, on a stand-in for a hosted project."""

import asyncio
import os
import shutil
import stat
import sys
import sysconfig
from collections.abc import AsyncIterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from scripts.local.main_job import run_main_job
from scripts.local.sample import speak_sample
from scripts.local.supabase.postgres import packaged_postgres
from scripts.local.supabase.processes import Child
from scripts.local.supabase.stack import Stack, running_stack
from scripts.migrations import ROOT, supabase_cli
from tests.checkouts import copied_checkout
from tests.clusters import SPEED, temporary_directory
from tests.scripts.existing_projects import application_folder
from tests.scripts.guide import Block, Shell, assigned, blocks

GUIDE = ROOT / "docs" / "install.md"
SERVE, WORK = "likeness serve\n", "likeness work\n"
# What an application had before: a table that is adopted, one that is none of ours, and a function.
APPLICATION: LiteralString = """
create table public.notes (id bigint primary key generated always as identity, text text not null);
alter table public.notes enable row level security;
create table public.reflections (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  name text
);
create index on public.reflections (user_id);
alter table public.reflections enable row level security;
create policy "Owners use their reflections" on public.reflections
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create function public.count_notes() returns bigint language sql stable set search_path = ''
as 'select count(*) from public.notes';
"""


class Reader:
    """Who follows the guide: a shell, and the two processes that its blocks start."""

    def __init__(self, stack: Stack, shell: Shell) -> None:
        self.stack = stack
        self.shell = shell
        self._running: dict[str, Child] = {}

    async def follow(self, block: Block) -> None:
        if block.text in (SERVE, WORK):
            await self._start(block.text)
        elif block.kind == "wait":
            await self._until_no_voice_is_named(block.text)
        elif block.kind == "stop":
            while self._running:
                await self.stack.processes.stop(self._running.popitem()[1], grace_seconds=30)
            self.shell.run(block.text)
        else:
            self.shell.run(block.text)

    async def _until_no_voice_is_named(self, text: str) -> None:
        async with asyncio.timeout(120):
            while " voices at " in (await asyncio.to_thread(self.shell.attempt, text)).stdout:
                pass  # each look takes a second

    async def _start(self, text: str) -> None:
        """In a terminal of its own, in the folder where the reader is. One that runs is stopped first."""
        name = f"guide-{text.split()[1]}"
        if name in self._running:
            await self.stack.processes.stop(self._running.pop(name), grace_seconds=30)
        command = shutil.which("likeness", path=self.shell.variable("PATH"))
        assert command, "the guide has installed it"
        environment = {**self.shell.environment, "ENV_FILE": ".env"}  # other tests read none
        child = await self.stack.processes.start(
            name, [command, text.split()[1]], environment, cwd=self.shell.folder
        )
        self._running[name] = child
        if text == SERVE:
            await child.await_url(f"{self.stack.api_url}/health/ready")
        else:
            await child.await_output("listening")


@pytest.fixture
async def hosted() -> AsyncIterator[Stack]:
    """A project without a migration of ours: `postgres` is no superuser and owns no schema of Supabase."""
    with temporary_directory() as directory:
        async with running_stack(directory, postgres_settings=SPEED, push=False) as stack:
            stack.api_url = f"http://127.0.0.1:{stack.ports.take()}"
            yield stack


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for PATH: the Supabase CLI and psql."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "supabase").symlink_to(supabase_cli())
    psql = packaged_postgres(16) / "bin" / "psql"
    (folder / "psql").symlink_to(psql)
    return folder


def environment(stack: Stack, home: Path, tools: Path, *, online: bool) -> dict[str, str]:
    """What is not in the guide, because a hosted project differs in it: the port, and how tokens are signed.

    Offline, pip downloads nothing: `write_python`.
    """
    env = {
        "HOME": str(home),
        "PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin",
        "PORT": stack.api_url.rsplit(":", 1)[1],
        "SUPABASE_JWT_SECRET": stack.secrets.jwt_secret,
        "SUPABASE_JWKS_URL": "off",
        "SUPABASE_TELEMETRY_DISABLED": "1",
        "COLUMNS": "200",
        "PYTHONPATH": "",
    }
    if not online:
        env |= {
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say: build without isolation
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
    return env


def write_python(path: Path, *, shared: bool) -> None:
    """A `python3`. Shared: its environments see the packages of the tests, which are those of the lock."""
    packages = f"lib/python{sysconfig.get_python_version()}/site-packages"
    lines = ["#!/bin/sh", f'{os.path.realpath(sys.executable)} "$@" || exit']
    if shared:
        link = f'echo {sysconfig.get_path("purelib")} > "$3/{packages}/tests.pth"'
        lines.append(f'[ "$1 $2" != "-m venv" ] || {link}')
    path.write_text("\n".join(lines))
    path.chmod(0o755)


def write_command(path: Path, source: Path) -> None:
    """A `likeness` that is `python -m scripts` of a checkout."""
    path.write_text(f'#!/bin/sh\nPYTHONPATH={source} exec {sys.executable} -m scripts "$@"\n')
    path.chmod(0o755)


def values(stack: Stack, application: Path, source: Path) -> dict[str, str]:
    return {
        "APP": str(application),
        "SOURCE": str(source),
        "OWNER_URL": stack.cluster.dsn("postgres"),
        "PROJECT_URL": stack.supabase_url,
        "SECRET_KEY": stack.secret_key,
        "PUBLISHABLE_KEY": stack.publishable_key,
    }


@pytest.mark.parametrize(
    "how", ["offline", *(pytest.param(each, marks=pytest.mark.long) for each in ("online", "checkout"))]
)
async def test_the_guide_takes_a_hosted_project_to_a_voice_that_speaks(
    hosted: Stack, tools: Path, tmp_path: Path, how: str
) -> None:
    application = application_folder(tmp_path / "app", APPLICATION)
    source = copied_checkout(tmp_path / "source")
    write_python(tools / "python3", shared=how == "offline")
    if how == "checkout":
        write_command(tools / "likeness", source)
        (tmp_path / "likeness").mkdir()
    shell = Shell(tmp_path, environment(hosted, tmp_path, tools, online=how == "online"))
    reader = Reader(hosted, shell)
    given = values(hosted, application, source)
    before, spoken = "", 0
    for block in blocks(GUIDE):
        if block.kind == "values":
            assert assigned(block) == set(given)
            for name, value in given.items():
                shell.run(f"{name}='{value}'")
        elif how == "checkout" and "pip install" in block.text:
            shell.run("cd ~/likeness")
        elif block.kind != "engine":
            if block.chapter != before and (before.startswith("7.") or block.chapter == "Remove"):
                await speak(hosted, tmp_path)
                spoken += 1
            await reader.follow(block)
            before = block.chapter
    assert spoken == 2
    settings = tmp_path / "likeness" / ".env"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert not settings.with_name(".env.old").exists()
    with psycopg.connect(hosted.cluster.dsn("postgres")) as owner:
        assert owner.execute("select public.count_notes()").fetchone() == (0,)
        left = owner.execute(
            "select to_regclass('public.reflections') is not null, to_regnamespace('voice_clone') is null,"
            " to_regrole('voice_clone_service') is null"
        ).fetchone()
    assert left == (True, True, True)
    assert [path.name for path in (application / "supabase" / "migrations").iterdir()] == [
        "20250101000000_application.sql"
    ]


async def speak(stack: Stack, folder: Path) -> None:
    sample = folder / "sample.wav"
    transcript = speak_sample(sample)
    done = await run_main_job(stack, "local", sample, transcript, folder / "speech.wav")
    assert done.launchable
