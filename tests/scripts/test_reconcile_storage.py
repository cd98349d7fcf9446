"""`likeness reconcile storage`: objects that no row uses, and rows whose object is gone."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from backend.domains.samples.preparation import EXTENSIONS
from backend.lifecycle.object_removal import remove_objects
from backend.storage.client import Storage
from tests.backend.storages import embedded_storage
from tests.backend.workers import Workers, workers
from tests.fixture import Fixture
from tests.preloaded import command
from tests.simulators import Simulator, simulator

AGED = (
    "update storage.objects set created_at = now() - interval '3 days',"
    " updated_at = now() - interval '3 days'"
)


@pytest.fixture(scope="module")
def providers() -> Iterator[Simulator]:
    with simulator("--instant") as started:
        yield started


@pytest.fixture
async def worker(given: Fixture, providers: Simulator, tmp_path: Path) -> AsyncIterator[Workers]:
    async with (
        embedded_storage(tmp_path, given.database.dsn("supabase_storage_admin")) as storage,
        workers(given, providers, storage.url) as started,
    ):
        yield started


@pytest.fixture
def storage(worker: Workers) -> Storage:
    return worker.context.storage


def found(given: Fixture, *arguments: str) -> dict[str, str]:
    env = os.environ | {"DATABASE_URL": given.database.service}
    done = command("reconcile", "storage", "--older-than", "0s", "--json", *arguments, env=env)
    *findings, end = (json.loads(line) for line in done.stdout.splitlines())
    ours = [each for each in findings if each["finding"] != "foreign"]
    assert (done.returncode, end["faults"]) == (1 if ours else 0, {}), done.stderr
    return {f"{each['bucket']}/{each['name']}": each["finding"] for each in findings}


async def put(storage: Storage, bucket: str, path: str, content_type: str = "audio/wav") -> None:
    await storage.upload(bucket, path, b"RIFF", content_type)


async def kept_sample(given: Fixture, storage: Storage) -> UUID:
    """With its two objects."""
    user = given.user()
    sample = given.ready_sample(user)
    for name in ("sample.wav", "prepared.wav"):
        await put(storage, "voice-samples", f"{user}/{sample}/{name}")
    return sample


def past_the_guard(given: Fixture, statement: str, *parameters: object) -> None:
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(statement.encode(), parameters)


async def empty(given: Fixture, worker: Workers) -> None:
    """What the consumer does with each removal."""
    for row in given.superuser.execute("select id from voice_clone.object_removals").fetchall():
        await remove_objects(worker.context, row["id"])


async def test_objects_without_a_row_are_removed_by_the_queue_and_no_others(
    given: Fixture, storage: Storage, worker: Workers
) -> None:
    """The rows of a backup that is older than the objects."""
    kept, lost = await kept_sample(given, storage), await kept_sample(given, storage)
    folder = f"{given.sample(lost)['user_id']}/{lost}"
    past_the_guard(given, "delete from public.voice_samples where id = %s", lost)
    speech, preview = f"{uuid4()}/{uuid4()}", f"{uuid4()}/{uuid4()}"
    employee = str(uuid4())
    await put(storage, "speeches", f"{speech}/1.wav")
    await put(storage, "voice-previews", f"{preview}/preview-1.wav")
    await put(storage, "recordings", f"{employee}/{employee}.wav")
    await put(storage, "deep-fakes", f"{employee}/{employee}.json", "application/json")
    await put(storage, "recordings", "CA1/RE2.wav")
    unowned = {
        f"voice-samples/{folder}", f"speeches/{speech}", f"voice-previews/{preview}",
        f"recordings/{employee}", f"deep-fakes/{employee}",
    }  # fmt: skip
    wrong = {**dict.fromkeys(unowned, "unowned"), "recordings/CA1/RE2.wav": "foreign"}
    assert found(given, "--older-than", "1d") == {}, "they may be on their way"
    given.superuser.execute(AGED)
    assert found(given) == wrong
    assert given.truth("select count(*) from voice_clone.object_removals")["count"] == 0
    assert found(given, "--apply") == wrong
    assert found(given) == {"recordings/CA1/RE2.wav": "foreign"}, "requested"
    await empty(given, worker)
    rows = given.superuser.execute("select bucket_id || '/' || name as name from storage.objects").fetchall()
    left = {row["name"] for row in rows}
    assert not [name for name in left for folder in unowned - {f"deep-fakes/{employee}"} if folder in name]
    kept_folder = f"voice-samples/{given.sample(kept)['user_id']}/{kept}"
    assert {f"{kept_folder}/sample.wav", f"{kept_folder}/prepared.wav", "recordings/CA1/RE2.wav"} <= left
    assert [each["message"]["id"] for each in given.messages("employee_files")] == [employee]


async def test_a_row_whose_object_is_gone_ends_as_at_the_end_of_its_retention(
    given: Fixture, storage: Storage
) -> None:
    kept, gone = await kept_sample(given, storage), await kept_sample(given, storage)
    user = given.sample(gone)["user_id"]
    await storage.remove("voice-samples", [f"{user}/{gone}/prepared.wav"])
    name = f"voice-samples/{user}/{gone}/prepared.wav"
    assert found(given) == {name: "missing"}
    assert given.sample(gone)["status"] == "ready", "nothing was changed"
    assert found(given, "--apply") == {name: "missing"}
    assert (given.sample(gone)["status"], given.sample(kept)["status"]) == ("removed", "ready")
    assert found(given) == {}


async def test_a_file_under_a_legal_hold_is_named_and_its_row_stays(given: Fixture, storage: Storage) -> None:
    sample = await kept_sample(given, storage)
    user = given.sample(sample)["user_id"]
    given.superuser.execute("select operations.place_hold(%s, 'a case')", (user,))
    await storage.remove("voice-samples", [f"{user}/{sample}/prepared.wav"])
    assert [*found(given, "--apply").values()] == ["missing"]
    assert given.sample(sample)["status"] == "ready"


async def test_many_objects_are_compared_page_by_page(given: Fixture, storage: Storage) -> None:
    for _ in range(3):
        await kept_sample(given, storage)
    assert found(given, "--page", "1") == {}


def test_each_kind_of_audio_that_a_sample_may_have_is_known(given: Fixture) -> None:
    for extension in set(EXTENSIONS.values()):
        user, sample = given.user(), uuid4()
        given.one(
            "select * from voice_clone.add_sample"
            "(%s, %s, %s, null, true, 'Ada', 'en', 'hello', %s, 'audio/wav', 1000)",
            sample, user, given.consent(user), f"{user}/{sample}/sample.{extension}",
        )  # fmt: skip
        used = given.truth(
            "select voice_clone.is_folder_used('voice-samples', %s) as used", f"{user}/{sample}"
        )
        assert used["used"], extension
