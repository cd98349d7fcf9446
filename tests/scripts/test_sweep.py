"""The operator's sweep: its output and exit code."""

import asyncio
import json
import os
import re

from scripts.sweep import MEANINGS
from tests.fixture import Fixture
from tests.preloaded import command


async def run(url: str, *arguments: str) -> tuple[int | None, str, str]:
    env = os.environ | {"DATABASE_URL": url, "COLUMNS": "120"}
    done = await asyncio.to_thread(command, "sweep", *arguments, env=env)
    return done.returncode, done.stdout, done.stderr


def open_uploads(given: Fixture, count: int) -> None:
    """Uploads that are due to expire."""
    user = given.user()
    for _ in range(count):
        given.open(user, None)
    given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'upload'")
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute("update voice_clone.deadlines set sweep_at = now()")


async def test_the_command_moves_on_what_is_due_and_says_so(given: Fixture) -> None:
    open_uploads(given, 3)
    code, output, _ = await run(given.database.service, "--json", "--limit", "2")
    assert (code, json.loads(output)) == (0, {"expired": 2})
    code, output, _ = await run(given.database.postgres)
    assert code == 0
    assert "uploads that were not finalized in time" in output
    assert (await run(given.database.service))[:2] == (0, "Nothing was due.\n")
    assert (await run(given.database.service, "--json"))[:2] == (0, "{}\n")


async def test_the_command_fails_where_something_could_not_be_moved(given: Fixture) -> None:
    open_uploads(given, 1)
    given.superuser.execute(
        "alter table public.voice_clone_attempts add constraint never check (status <> 'expired') not valid"
    )
    code, output, _ = await run(given.database.service, "--json")
    assert (code, json.loads(output)) == (1, {"errors": 1})


async def test_the_command_says_what_it_needs() -> None:
    code, output, _ = await run("", "--help")
    assert code == 0
    assert "DATABASE_URL" in output
    code, _, errors = await run("")
    assert code == 2
    assert "set SUPABASE_URL and SUPABASE_SECRET_KEY" in errors
    code, _, errors = await run("postgresql://postgres@127.0.0.1:1/postgres")
    assert code == 1
    assert "The database refused" in errors
    assert "Traceback" not in errors


RETURNED = re.compile(
    r"(?:\b(?:return(?: next)?|select|then|else|returning)\s+|(?<![a-z_])\(\s*|array_fill\(|array\[)"
    r"'([a-z_]+)'(?!\s*\|\|)"
)
ARGUMENTS = {"worker_lost", "deadline_exceeded", "awaiting_upload", "intended", "runtime", "preview"}
OF_A_RECORDING = {"recording_requeued", "recording_failed", "recording_move_given_up"}  # put together


def test_each_word_of_the_sweep_has_a_meaning(given: Fixture) -> None:
    """Read from the bodies of its functions."""
    bodies = given.superuser.execute(
        "select p.prosrc from pg_proc p"
        " where p.pronamespace = 'voice_clone'::regnamespace and p.proname like 'sweep%'"
    ).fetchall()
    words = {word for row in bodies for word in RETURNED.findall(row["prosrc"])} - ARGUMENTS
    assert words | OF_A_RECORDING == MEANINGS.keys()
