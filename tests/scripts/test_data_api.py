"""Operators' commands with the secret key alone: the Data API answers what SQL answers."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from backend.storage.client import Storage
from backend.web.upstreams import Upstreams
from scripts.local.supabase.stack import Stack
from tests.backend.storages import supabase
from tests.clusters import Database
from tests.database.test_recordings import call_of, employee, sid
from tests.fixture import Fixture
from tests.preloaded import command

LEGACY = {"cloneStatus": "ready", "provider": "qwen", "region": "singapore", "voiceId": "ada-1"}


async def called(*arguments: str, **settings: str) -> tuple[int, str]:
    """The exit code and what was printed."""
    base = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    done = await asyncio.to_thread(command, *arguments, env=base | settings)
    return done.returncode, done.stdout or done.stderr


@pytest.fixture
def project(stack: Stack) -> dict[str, str]:
    return {"SUPABASE_URL": stack.supabase_url, "SUPABASE_SECRET_KEY": stack.secret_key}


@pytest.fixture
def given(stack: Stack) -> Iterator[Fixture]:
    """In the database of the stack."""
    dsn = stack.cluster.dsn
    logins = [dsn(), dsn("postgres"), dsn("voice_clone_service")]
    with closing(Fixture(Database(stack.cluster, "postgres", *logins))) as made:
        yield made


async def test_commands_that_read_answer_and_errors_say_what_to_do(
    stack: Stack, project: dict[str, str]
) -> None:
    """The publishable key is refused, and a project that is away. Other tests use the stack too."""
    by_sql = {"DATABASE_URL": stack.cluster.dsn("voice_clone_service")}
    for listing in (("attempts",), ("attempts", "--stuck"), ("dead-letters",)):
        code, output = await called(*listing, "--json", **project)
        assert (code, json.loads(output)) == (0, json.loads((await called(*listing, "--json", **by_sql))[1]))
    nobody = ("--owner", str(UUID(int=1)))
    assert await called("attempts", "--json", *nobody, **project) == (0, "[]\n")
    assert (await called("attempts", "show", str(UUID(int=1)), **project))[0] == 1
    code, output = await called("stats", "--json", **project)
    by_sql_too = json.loads((await called("stats", "--json", **by_sql))[1])
    assert (code, json.loads(output)["attempts"]) == (0, by_sql_too["attempts"])
    assert (await called("slots", **project))[0] == 0
    code, output = await called("attempts", **project | {"SUPABASE_SECRET_KEY": stack.publishable_key})
    assert (code, "permission denied" in output) == (1, True)
    code, output = await called("attempts", **project | {"SUPABASE_URL": "http://127.0.0.1:1"})
    assert (code, "cannot be reached" in output) == (1, True)
    code, output = await called("attempts")
    assert (code, "set SUPABASE_URL and SUPABASE_SECRET_KEY" in output) == (2, True)


async def test_voices_of_an_earlier_system_are_listed_imported_and_then_gone(
    given: Fixture, project: dict[str, str]
) -> None:
    user = given.user()
    with given.superuser.transaction():  # past the guard of the mirror, as before the migrations
        given.superuser.execute("set local session_replication_role = replica")
        reflection = given.truth(
            "insert into public.reflections (user_id, name, voice) values (%s, 'R', %s) returning id",
            user, Jsonb(LEGACY),
        )["id"]  # fmt: skip

    async def run(*arguments: str) -> list[tuple[str, str]]:
        code, output = await called("import-legacy-voices", "--json", *arguments, **project)
        rows = json.loads(output.splitlines()[-1])
        assert code == 0, output
        return [(row["reflection_id"], row["outcome"]) for row in rows]

    assert await run() == [(str(reflection), "ready")]
    assert await run("--apply") == [(str(reflection), "ready")]
    assert await run("--apply") == []
    attempt = given.truth("select * from public.voice_clone_attempts where reflection_id = %s", reflection)
    assert (attempt["status"], attempt["source"]) == ("ready", "legacy_outbox")
    given.superuser.execute("delete from auth.users where id = %s", (user,))


async def test_a_recording_of_an_older_layout_is_moved(
    given: Fixture, stack: Stack, project: dict[str, str]
) -> None:
    of, organization = employee(given)
    path = f"{call_of(given, of)}/{sid('RE')}.wav"

    async def run(*arguments: str) -> dict[str, str]:
        code, output = await called("recordings", "move", "--json", *arguments, **project)
        assert code == 0, output
        return {row["path"]: row["outcome"] for row in json.loads(output)}

    async with Upstreams() as upstreams:
        storage = Storage(supabase(stack.supabase_url, stack.secret_key), upstreams.storage)
        await storage.upload("recordings", path, b"a recording", "audio/wav")
        assert await run() == {path: "movable"}
        assert await run("--apply") == {path: "moved"}
        assert await run("--apply") == {}
        moved = storage.stream("recordings", f"{of}/{of}.wav")
        assert b"".join([chunk async for chunk in moved]) == b"a recording"
    given.superuser.execute("delete from public.organizations where id = %s", (organization,))
