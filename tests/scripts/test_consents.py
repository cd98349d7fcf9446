"""The operator's check of the consents: what it prints, and how it ends."""

import asyncio
import json
import os

from tests.fixture import Fixture
from tests.preloaded import command


async def verify(url: str, *arguments: str) -> tuple[int | None, str, str]:
    env = os.environ | {"DATABASE_URL": url, "COLUMNS": "200"}
    done = await asyncio.to_thread(command, "consents", "verify", *arguments, env=env)
    return done.returncode, done.stdout, done.stderr


async def test_the_command_names_each_entry_that_was_changed(given: Fixture) -> None:
    for _ in range(2):
        given.consent(given.user())
    code, output, _ = await verify(given.database.service, "--json")
    report = json.loads(output)
    assert (code, report["persons"], report["broken"], report["anchors"]["problems"]) == (0, 2, [], [])
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update public.voice_consents set recorded_at = recorded_at - interval '1 day'"
        )
    code, output, _ = await verify(given.database.service, "--json")
    broken = json.loads(output)["broken"]
    consents = given.superuser.execute("select id::text from public.voice_consents").fetchall()
    assert (code, {each["consent_id"] for each in broken}) == (1, {row["id"] for row in consents})
    code, output, _ = await verify(given.database.postgres)
    assert (code, output.count("its contents or its statement were changed")) == (1, 2)


async def test_the_command_says_what_it_needs() -> None:
    code, _, errors = await verify("")
    assert (code, "set SUPABASE_URL and SUPABASE_SECRET_KEY" in errors) == (2, True)
    code, _, errors = await verify("postgresql://nobody@127.0.0.1:1/none")
    assert (code, "The database refused" in errors) == (1, True)


async def test_a_login_without_the_right_is_told_which_one_has_it(given: Fixture) -> None:
    env = os.environ | {"DATABASE_URL": given.database.service}
    done = await asyncio.to_thread(command, "consents", "anchor", env=env)
    assert (done.returncode, "with DATABASE_URL= (empty)" in done.stderr) == (1, True)
