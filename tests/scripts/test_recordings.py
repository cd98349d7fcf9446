"""The operator moves recordings of an older layout: the listing, a run, a repeated and an interrupted one."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from backend.storage.client import Storage
from backend.web.upstreams import Upstreams
from scripts.move_recordings import older_objects
from tests.backend.storages import SECRET_KEY, embedded_storage, supabase
from tests.database.test_recordings import (
    END_MOVE,
    OVER,
    call_of,
    claim,
    employee,
    receive,
    received,
    sid,
    stored,
    sweep,
)
from tests.fixture import Fixture
from tests.preloaded import command

BUCKET = "recordings"
LEASED = "select id from voice_clone.recordings where status = 'processing'"
WAITING = "select count(*) from pg_locks where not granted"


class World:
    def __init__(self, given: Fixture, url: str, storage: Storage) -> None:
        self.given, self.url, self.storage = given, url, storage

    async def put(self, call: str, recording: str, content: bytes) -> str:
        path = f"{call}/{recording}.wav"
        await self.storage.upload(BUCKET, path, content, "audio/wav")
        return path

    async def read(self, path: str) -> bytes | None:
        if await self.storage.info(BUCKET, path) is None:
            return None
        return b"".join([chunk async for chunk in self.storage.stream(BUCKET, path)])

    async def read_of(self, of: UUID) -> bytes | None:
        return await self.read(f"{of}/{of}.wav")

    async def run(self, *arguments: str) -> tuple[int | None, dict[str, str]]:
        """The exit code, and the outcomes by path."""
        env = os.environ | self.env
        done = await asyncio.to_thread(command, "recordings", "move", "--json", *arguments, env=env)
        assert done.stdout, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return done.returncode, {row["path"]: row["outcome"] for row in rows}

    @property
    def env(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.given.database.service,
            "SUPABASE_URL": self.url,
            "SUPABASE_SECRET_KEY": SECRET_KEY,
        }

    @asynccontextmanager
    async def copying(self) -> AsyncIterator[Process]:
        """A run that has the lease of a recording, and whose upload Storage does not answer yet."""
        with psycopg.connect(self.given.database.superuser, autocommit=True) as locker:
            locker.execute("begin; lock table storage.objects in exclusive mode")
            started = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "scripts", "recordings", "move", "--apply"),
                stdout=PIPE, stderr=PIPE, env=os.environ | self.env,
            )  # fmt: skip
            leased = f"select count(*) from ({LEASED}) leased"  # noqa: S608 - our own text
            async with asyncio.timeout(60):
                while not (self.given.truth(leased)["count"] and self.given.truth(WAITING)["count"]):
                    assert started.returncode is None, await started.communicate()
                    await asyncio.sleep(0.02)
            yield started


@pytest.fixture
async def world(given: Fixture, tmp_path: Path) -> AsyncIterator[World]:
    upstreams = Upstreams()
    login = given.database.dsn("supabase_storage_admin")
    async with embedded_storage(tmp_path, login) as running, upstreams:
        yield World(given, running.url, Storage(supabase(running.url), upstreams.storage))


async def test_the_newest_of_each_employee_is_moved_once_and_only_with_apply(world: World) -> None:
    given = world.given
    (ada, _), (bob, _) = employee(given), employee(given)
    call = call_of(given, ada)
    record = given.truth("insert into public.calls (employee_id) values (%s) returning id", bob)["id"]
    older = await world.put(call, sid("RE"), b"the older one of Ada")
    newer = await world.put(call, sid("RE"), b"the newer one of Ada")
    bobs = await world.put(str(record), sid("RE"), b"the one of Bob")
    nobodys = await world.put(sid("CA"), sid("RE"), b"of a call that is not known")
    listed = {older: "movable", newer: "movable", bobs: "movable", nobodys: "unmatched"}
    assert await world.run() == (0, listed)
    assert await world.read_of(ada) is None, "nothing was changed"

    moved = {older: "older", newer: "moved", bobs: "moved", nobodys: "unmatched"}
    assert await world.run("--apply") == (0, moved)
    assert await world.read_of(ada) == b"the newer one of Ada"
    assert await world.read_of(bob) == b"the one of Bob"
    assert [await world.read(path) is None for path in moved] == [False, True, True, False]
    assert await world.run("--apply") == (0, {older: "older", nobodys: "unmatched"})
    rows = given.superuser.execute(
        "select status, employee_id from voice_clone.recordings order by recorded_at"
    ).fetchall()
    assert [(each["status"], each["employee_id"]) for each in rows] == [("stored", ada), ("stored", bob)]


async def test_a_run_that_died_after_its_last_write_is_continued(world: World) -> None:
    """The row is there, and so is the older object."""
    given = world.given
    of, _ = employee(given)
    path = await world.put(call_of(given, of), sid("RE"), b"a recording")
    (found,) = await older_objects(world.storage)
    move = given.one(
        "select * from operations.claim_recording_move(%s, %s, %s, 'w')",
        found.call, found.recording_sid, found.recorded_at,
    )  # fmt: skip
    given.one(END_MOVE, move["recording_id"], move["lease_epoch"], of)
    await world.storage.upload(BUCKET, f"{of}/{of}.wav", b"a recording", "audio/wav")
    assert await world.run("--apply") == (0, {path: "moved"})
    assert (await world.read(path), await world.read_of(of)) == (None, b"a recording")
    assert given.truth("select count(*) from voice_clone.recordings")["count"] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_run_that_is_stopped_while_it_copies_is_continued(
    world: World, number: signal.Signals
) -> None:
    """Its lease keeps workers and other runs away, until the upload can no longer arrive."""
    given = world.given
    of, _ = employee(given)
    waiting = received(given, of)
    path = await world.put(call_of(given, of), sid("RE"), b"a recording")
    async with world.copying() as running:
        running.send_signal(number)
        _, errors = await running.communicate()
    assert running.returncode == (130 if number == signal.SIGINT else -number), errors
    assert number == signal.SIGKILL or b"Run the command again" in errors
    assert await world.run("--apply") == (3, {path: "later"})
    assert claim(given, waiting)["outcome"] == "busy"
    given.superuser.execute(OVER, (given.truth(LEASED)["id"],))
    assert sweep(given)["recording_move_given_up"] == 1
    assert await world.run("--apply") == (0, {path: "moved"})
    assert (await world.read(path), await world.read_of(of)) == (None, b"a recording")
    assert await world.run("--apply") == (0, {})


async def test_a_limit_leaves_the_others_for_the_next_run(world: World) -> None:
    calls = [call_of(world.given, employee(world.given)[0]) for _ in range(2)]
    for call in calls:
        await world.put(call, sid("RE"), b"a recording")
    code, outcomes = await world.run("--apply", "--limit", "1")
    assert (code, sorted(outcomes.values())) == (3, ["later", "moved"])
    code, outcomes = await world.run("--apply", "--limit", "1")
    assert (code, [*outcomes.values()]) == (0, ["moved"])


async def test_an_older_object_replaces_nothing_that_a_callback_brought(world: World) -> None:
    """A newer recording that is stored, one that a worker is about to store, and the same recording."""
    given = world.given
    (ada, _), (bob, _), (cleo, _) = (employee(given) for _ in range(3))
    stored(given, received(given, ada, hours=24 * 365 * 50))
    claim(given, received(given, bob))
    same = sid("RE")
    call = call_of(given, cleo)
    receive(given, call, recording=same)
    paths = [
        await world.put(call_of(given, ada), sid("RE"), b"x"),
        await world.put(call_of(given, bob), sid("RE"), b"x"),
        await world.put(call, same, b"x"),
    ]
    assert await world.run("--apply") == (3, dict(zip(paths, ("older", "later", "known"), strict=True)))
    assert [await world.read_of(of) for of in (ada, bob, cleo)] == [None] * 3
    assert all([await world.read(path) for path in paths])
