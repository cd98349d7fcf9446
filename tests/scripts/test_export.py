"""The export of a person: every row and every file with its hash, of nobody else."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4
from zipfile import ZipFile

import pytest

from backend.storage.client import Storage
from backend.web.upstreams import Upstreams
from tests.backend.storages import SECRET_KEY, embedded_storage, supabase
from tests.fixture import Fixture
from tests.preloaded import command

HELD = "select string_agg(prosrc, ' ') as text from pg_proc where proname ~ '^held'"


class World:
    def __init__(self, given: Fixture, url: str, storage: Storage, folder: Path) -> None:
        self.given = given
        self.url = url
        self.storage = storage
        self.folder = folder

    async def run(self, *arguments: str, **settings: str) -> tuple[int, str, str]:
        env = os.environ | {
            "DATABASE_URL": self.given.database.postgres,
            "SUPABASE_URL": self.url,
            "SUPABASE_SECRET_KEY": SECRET_KEY,
        }
        done = await asyncio.to_thread(command, "export", *arguments, env=env | settings)
        return done.returncode, done.stdout, done.stderr

    async def exported(self, kind: str, subject: UUID) -> dict[str, bytes]:
        """The files of the ZIP, each as its manifest says."""
        path = self.folder / f"{subject}.zip"
        code, output, errors = await self.run(kind, str(subject), "--output", str(path))
        assert code == 0, output + errors
        with ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(files.pop("manifest.json"))
        assert {each["name"]: each["sha256"] for each in manifest["files"]} == {
            name: hashlib.sha256(content).hexdigest() for name, content in files.items()
        }
        assert {each["name"]: each["bytes"] for each in manifest["files"]} == {
            name: len(content) for name, content in files.items()
        }
        return files


@pytest.fixture
async def world(given: Fixture, tmp_path: Path) -> AsyncIterator[World]:
    upstreams = Upstreams()
    login = given.database.dsn("supabase_storage_admin")
    async with embedded_storage(tmp_path, login) as running, upstreams:
        yield World(given, running.url, Storage(supabase(running.url), upstreams.storage), tmp_path)


async def test_a_user_gets_every_row_and_file_and_nothing_of_others(world: World) -> None:
    given = world.given
    user, other = given.user(), given.user()
    attempt = given.launchable(user, given.reflection(user))
    given.launchable(other, given.reflection(other))
    mine, others = f"{user}/{attempt}/sample.wav", f"{other}/{uuid4()}/sample.wav"
    for path in (mine, others):
        await world.storage.upload("voice-samples", path, b"a recording", "audio/wav")
    files = await world.exported("user", user)
    assert files[f"voice-samples/{mine}"] == b"a recording"
    assert str(other).encode() not in b"".join(files.values())
    tables = {name: json.loads(content) for name, content in files.items() if name.startswith("data/")}
    assert [row["id"] for row in tables["data/attempts.json"]] == [str(attempt)]
    for name in ("consents", "samples", "voices", "events", "enrollments", "reflections"):
        assert tables[f"data/{name}.json"], name
    assert tables["data/webhooks.json"] == []
    assert "lease_owner" not in tables["data/attempts.json"][0]
    assert tables["data/consents.json"][0]["statement"]
    assert given.attempt(attempt)["user_id"] == user, "nothing was changed"


async def test_an_employee_is_exported_with_the_row(world: World) -> None:
    given = world.given
    admin = given.user()
    employee = given.employee(given.organization(admin), "grace@example.com")
    given.employee_consent(employee, admin)
    await world.storage.upload("recordings", f"{employee}/{employee}.wav", b"a call", "audio/wav")
    files = await world.exported("employee", employee)
    assert b"grace@example.com" in files["data/employees.json"]
    assert files[f"recordings/{employee}/{employee}.wav"] == b"a call"
    assert len(json.loads(files["data/consents.json"])) == 1


async def test_a_table_that_gets_a_column_of_a_user_is_exported(given: Fixture) -> None:
    """Each table with a user_id is in the export, or is named here with the reason."""
    kept_out = {
        "consent_chains": "the chain's own id of the person, which is in each consent",
        "job_slots": "ids of the jobs at work", "waiting_jobs": "ids of the jobs that wait",
        "rate_limits": "how much of a limit is used", "consent_invitations": "by an organization",
        "organization_members": "the application's",
        "enrolling_attempts": "which of the attempts enroll",
        "consent_challenges": "a sentence to read aloud, for some minutes",
    }  # fmt: skip
    rows = given.superuser.execute(
        "select distinct c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " where a.attname = 'user_id' and c.relkind in ('r', 'p')"
        " and c.relnamespace::regnamespace::text in ('public', 'voice_clone')"
    ).fetchall()
    source = given.truth("select string_agg(prosrc, ' ') as text from pg_proc where proname ~ '^held'")[
        "text"
    ]
    missing = {row["relname"] for row in rows if f".{row['relname']} " not in source} - kept_out.keys()
    assert missing == set()


async def test_wrong_usage_says_what_is_right_and_leaves_no_file(world: World) -> None:
    path = world.folder / "away.zip"
    code, _, errors = await world.run(
        "user", str(uuid4()), "--output", str(path), SUPABASE_URL="http://127.0.0.1:1"
    )
    assert (code, "Storage could not be read" in errors) == (1, True), errors
    assert (await world.run("user", "Ada"))[0] == 2
    code, _, errors = await world.run("user", str(uuid4()), SUPABASE_SECRET_KEY="")
    assert (code, "set SUPABASE_URL and SUPABASE_SECRET_KEY" in errors) == (2, True), errors
    assert list(world.folder.glob("*.zip*")) == []
