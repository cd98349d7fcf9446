"""What fails on our side: 503, the upload stays, and the same call succeeds when the cause is gone."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.local.supabase.processes import Child
from tests.end_to_end.bad_files import spoken
from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_bad_input import answer, objects, problem
from tests.end_to_end.test_reflection_voice import clone_file

INSPECTED = """
    select from public.voice_clone_attempts a join public.voice_samples s on s.id = a.sample_id
    where a.id = %s and s.status = 'processing'
"""


async def finalize(person: Person, upload: dict[str, Any], key: str | None = None) -> httpx.Response:
    body = {"voice_id": upload["voice_id"], "name": "Ada", "language": "en"}
    headers = {"idempotency-key": key} if key else {}
    person.client.headers.update(headers)
    try:
        return await answer(person, "POST", "/api/clone/finalize", json=body)
    finally:
        person.client.headers.pop("idempotency-key", None)


def workers(service: Child, module: str = "backend.audio.examine") -> list[int]:
    """Of the service: the sandbox workers that inspect samples."""
    commands: dict[int, str] = {}
    children: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(process.name)] = (process / "cmdline").read_text()
        except OSError:
            continue
        children.setdefault(parent, []).append(int(process.name))
    below = list(children.get(service.pid, []))
    for each in below:  # a process may have a smaller id than its parent: the kernel begins again at 300
        below += children.get(each, [])
    return [each for each in below if module in commands[each]]


@asynccontextmanager
async def ready(product: Product, **settings: str) -> AsyncIterator[tuple[Child, Person]]:
    service = await product.start("service", **settings)
    async with person(product) as ada:
        yield service, ada


async def frozen_inspection(
    product: Product, service: Child, ada: Person, key: str
) -> tuple[dict[str, Any], asyncio.Task[httpx.Response]]:
    """A finalize whose worker is stopped: it holds the sample and does not go on."""
    first = await ada.upload(spoken(5.5))
    assert (await finalize(ada, first)).status_code in {201, 202}
    stopped = workers(service)
    assert stopped, "no worker was found"
    for worker in stopped:
        os.kill(worker, signal.SIGSTOP)
    upload = await ada.upload(spoken(5.5))
    call = asyncio.create_task(finalize(ada, upload, key))
    await product.until(INSPECTED, upload["attempt_id"])
    return upload, call


async def test_a_worker_that_freezes_or_is_killed_costs_no_upload(product: Product) -> None:
    async with ready(product) as (service, ada):
        upload, call = await frozen_inspection(product, service, ada, "a-key")
        before = objects(product)
        for worker in workers(service):
            os.kill(worker, signal.SIGKILL)
        refused = await call
        assert problem(refused) == (503, "inspection_unavailable")
        assert refused.headers["retry-after"]
        assert objects(product) == before
        assert (await finalize(ada, upload, "a-key")).status_code in {201, 202}


async def test_a_killed_service_leaves_no_sample_in_the_temporary_folder(
    product: Product, tmp_path: Path
) -> None:
    async with ready(product, TMPDIR=str(tmp_path)) as (service, ada):
        upload, call = await frozen_inspection(product, service, ada, "another-key")
        stopped = workers(service)
        await product.kill(service)
        with pytest.raises(httpx.HTTPError):
            await call
        assert os.listdir(tmp_path) == []
        async with asyncio.timeout(30):
            while any(running(each) for each in stopped):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert product.attempt(upload["attempt_id"])["status"] == "awaiting_upload"


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False)
    if made.returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False)


async def grow(small_disk: Path) -> None:
    remount = ["mount", "-o", "remount,size=64m", str(small_disk)]
    await asyncio.to_thread(subprocess.run, remount, check=True)


async def test_a_full_disk_costs_no_upload(product: Product, small_disk: Path) -> None:
    async with ready(product, TMPDIR=str(small_disk)) as (_, ada):
        upload = await ada.upload(spoken(5.5))
        before = objects(product)
        assert problem(await finalize(ada, upload, "key")) == (503, "inspection_unavailable")
        assert objects(product) == before
        await grow(small_disk)
        assert (await finalize(ada, upload, "key")).status_code in {201, 202}


async def test_a_temporary_folder_that_is_gone_costs_no_upload(product: Product, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    async with ready(product, TMPDIR=str(folder)) as (_, ada):
        assert (await finalize(ada, await ada.upload(spoken(5.5)))).status_code in {201, 202}
        shutil.rmtree(folder)
        upload = await ada.upload(spoken(5.5))
        before = objects(product)
        assert problem(await finalize(ada, upload, "key")) == (503, "inspection_unavailable")
        assert objects(product) == before
        folder.mkdir()
        assert (await finalize(ada, upload, "key")).status_code in {201, 202}


@pytest.mark.parametrize(
    ("fault", "key"),
    [
        ("full", None),
        ("gone", "a-key"),
        pytest.param("full", "a-key", marks=pytest.mark.long),
        pytest.param("gone", None, marks=pytest.mark.long),
    ],
)
async def test_a_form_that_cannot_be_stored_is_no_fault_of_the_sample(
    product: Product, small_disk: Path, fault: str, key: str | None
) -> None:
    """The framework writes a large file of a form to disk, before any route reads it."""
    folder = small_disk / "temporary"
    folder.mkdir()
    large = spoken(5.5) + bytes(2 << 20)  # what follows the recording is not part of it
    async with ready(product, TMPDIR=str(folder)) as (_, ada):
        if fault == "gone":
            await grow(small_disk)
            assert (await clone_file(ada, large)).status_code == 202
            folder.rmdir()
        ada.client.headers.update({"idempotency-key": key} if key else {})
        before = objects(product)
        refused = await clone_file(ada, large)
        assert problem(refused) == (503, "inspection_unavailable")
        assert refused.headers["retry-after"]
        assert objects(product) == before
        folder.mkdir(exist_ok=True)
        await grow(small_disk)
        stored = await clone_file(ada, large)
        assert stored.status_code == 202, stored.text


async def test_concurrent_finalizes_delete_the_inspected_object_and_no_replacement(product: Product) -> None:
    """The first refusal deletes the bad sample; its user uploads a good one while other calls still run."""
    bad, good = spoken(1.8), spoken(6)
    async with ready(product) as (_, ada):
        for round_ in range(2):
            upload = await ada.upload(bad)
            calls = [asyncio.create_task(finalize(ada, upload)) for _ in range(4)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            await ada.put(upload, good)
            results = [(each.status_code, each.json().get("code")) for each in await asyncio.gather(*calls)]
            assert {status for status, _ in results} <= {201, 202, 409, 422}, results
            present = product.row("select count(*) from storage.objects where name = %s", upload["path"])
            assert present["count"] == 1, (round_, results)
            assert (await finalize(ada, upload)).status_code in {201, 202}
