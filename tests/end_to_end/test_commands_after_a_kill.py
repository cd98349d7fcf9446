"""An operator's commands after a kill: they name the fault, repair it, and find nothing then."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from scripts.local.supabase.processes import Child
from tests.end_to_end.conftest import PATIENT, Product, person
from tests.end_to_end.test_cleanup import abandoned_create, until_status
from tests.end_to_end.test_crashes import queue, stuck_at
from tests.end_to_end.test_reflection_voice import clone_file, launchable
from tests.preloaded import command

SHORT = {"orphan_grace": "0.2 s", "lost_message": "1 s"}
BUDGET = 2  # tries of a message
PROCESSING = ("--queue", "voice_clone_process")
STUCK = {"dead_letter", "no_consumer", "lease_ended", "sweep_overdue", "sweep_error"}
LEASE_ENDED = "select from voice_clone.deadlines where attempt_id = %s and lease_expires_at <= now()"
SHOWN = "select from public.reflections where id = %s and voice ->> 'attemptId' = %s"
IN_HAND = "select from pgmq.q_voice_clone_process where message ->> 'id' = %s and read_ct = %s"
VISIBLE = "select from pgmq.q_voice_clone_process where message ->> 'id' = %s and vt <= now()"
LETTER = "select from voice_clone.dead_letters where message ->> 'id' = %s"
EMPTIED = """
select where not exists (select from voice_clone.object_removals where split_part(folder, '/', 1) = %s)
"""
NOBODY = "select from voice_clone.consumers_state() s where s.alive = 0"
NO_MESSAGE = "select where not exists (select from pgmq.q_voice_mirror)"
READY = "select from public.voice_clone_attempts where id = %s and status = 'ready'"


class Operator:
    """With the secret key and the keys of the providers; never with a password of the database."""

    def __init__(self, product: Product) -> None:
        self.product = product

    async def run(self, *arguments: str) -> tuple[int, list[Any]]:
        """The exit code, and each line of JSON."""
        env = {**os.environ, **self.product.environment()}
        del env["DATABASE_URL"]
        done = await asyncio.to_thread(command, *arguments, "--json", env=env)
        assert done.stdout, done.stderr
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    async def one(self, *arguments: str) -> Any:
        code, (found,) = await self.run(*arguments)
        assert code == 0, found
        return found

    async def findings(self, *arguments: str) -> tuple[int, Mapping[str, int]]:
        code, (*_, end) = await self.run("reconcile", *arguments)
        assert end["faults"] == {}
        return code, end["findings"]


@pytest.fixture
def operator(product: Product) -> Operator:
    return Operator(product)


@pytest.fixture
def short_times(product: Product) -> Iterator[None]:
    with product.timeouts(SHORT):
        yield


async def kill_all(product: Product, *children: Child) -> None:
    for child in children:
        await product.kill(child)
    product.providers.release()


@pytest.mark.long
async def test_an_attempt_whose_worker_died_is_named_and_swept(
    product: Product, prepared: bytes, operator: Operator
) -> None:
    """`attempts` and `sweep`."""
    service = await product.start("service", FINALIZE_WAIT_SECONDS="0", MAX_JOBS_PER_USER="1")
    async with person(product) as ada:
        upload = await ada.upload(prepared, provider="qwen")
        attempt = upload["attempt_id"]
        queue(product, upload)
        async with stuck_at(product, "qwen", "inside the call", attempt):
            await kill_all(product, service)
        await product.until(LEASE_ENDED, attempt)
        assert await finding(operator, attempt) == "lease_ended"
        assert (await operator.one("sweep"))["requeued"] >= 1
        assert product.attempt(attempt)["status"] == "queued"
        assert "requeued" not in await operator.one("sweep")
        assert await finding(operator, attempt) not in STUCK
        await product.start("service")
        await product.start("consumers")
        await product.until(READY, attempt)
        assert await finding(operator, attempt) not in STUCK
    assert len(product.providers.voices("qwen")) == 1


async def finding(operator: Operator, attempt: str) -> str:
    """As `show` says; where it is a fault, `--stuck` has it too."""
    shown = await operator.one("attempts", "show", attempt)
    stuck = {each["id"]: each["finding"] for each in await operator.one("attempts", "--stuck")}
    said = shown["finding"]["finding"]
    assert stuck.get(attempt, said) == said
    assert (attempt in stuck) == (said in STUCK)
    return said


@pytest.mark.usefixtures("short_times")
async def test_a_voice_whose_maker_died_is_found_and_removed(
    product: Product, prepared: bytes, operator: Operator
) -> None:
    """`reconcile voices`, `orphans` and `slots`."""
    attempt = await abandoned_create(product, prepared, "elevenlabs")
    voices = ("voices", "--provider", "elevenlabs")
    assert await operator.findings(*voices) == (1, {"unknown": 1})
    assert await operator.findings(*voices, "--apply") == (1, {"unknown": 1})
    assert await operator.findings(*voices) == (0, {})
    (orphan,) = [each for each in await operator.one("orphans") if each["attempt_id"] == attempt]
    (voice,) = product.providers.voices("elevenlabs")
    assert orphan["provider_voice_id"] == voice["voice_id"]
    before = await orphans_in_slots(operator)
    await product.start("service")
    await product.start("consumers")
    await until_status(product, attempt, "removed")
    assert product.providers.voices("elevenlabs") == []
    assert [each for each in await operator.one("orphans") if each["attempt_id"] == attempt] == []
    assert await orphans_in_slots(operator) == before - 1
    assert await operator.findings(*voices) == (0, {})


async def orphans_in_slots(operator: Operator) -> int:
    """At ElevenLabs."""
    return next(each["orphans"] for each in await operator.one("slots") if each["provider"] == "elevenlabs")


@pytest.mark.long
async def test_a_mirror_whose_consumers_died_is_found_and_repaired(
    product: Product, prepared: bytes, operator: Operator
) -> None:
    """`reconcile mirror`."""
    await product.start("service", **PATIENT)
    consumers = await product.start("consumers")
    async with person(product) as ada:
        await product.kill(consumers)
        upload = await ada.upload(prepared)
        assert (await ada.finalize(upload)).status_code == 201
        mirrors = ("mirror", "--older-than", "0s")
        code, found = await operator.findings(*mirrors)
        assert (code, found["behind"] >= 1) == (1, True)
        assert await operator.findings(*mirrors, "--apply") == (1, found)
        await product.start("consumers")
        await product.until(SHOWN, ada.reflection, upload["attempt_id"])
        await product.until(NO_MESSAGE)
        assert await operator.findings(*mirrors) == (0, {})
        assert await operator.findings(*mirrors, "--apply") == (0, {})


@pytest.mark.long
async def test_a_message_that_killed_its_consumers_is_a_dead_letter_and_sent_again(
    product: Product, prepared: bytes, operator: Operator
) -> None:
    """`dead-letters`, `stats` and `attempts`. The service is frozen: each consumer dies in its call."""
    service = await product.start("service", FINALIZE_WAIT_SECONDS="0")
    async with person(product) as ada:
        upload = await ada.upload(prepared)
        attempt = upload["attempt_id"]
        queue(product, upload)
        os.killpg(service.pid, signal.SIGSTOP)
        for read in range(1, BUDGET + 1):
            consumers = await product.start("consumers", MESSAGE_BUDGET=str(BUDGET))
            await product.until(IN_HAND, attempt, read)
            await product.kill(consumers)
            await product.until(VISIBLE, attempt)
        consumers = await product.start("consumers", MESSAGE_BUDGET=str(BUDGET))
        await product.until(LETTER, attempt)
        assert await dead_letters(operator) == [attempt]
        assert await finding(operator, attempt) == "dead_letter"
        assert await dead_in(operator, "voice_clone_process") == 1

        os.killpg(service.pid, signal.SIGCONT)
        sent = await operator.one("dead-letters", "redrive", *PROCESSING, "--apply")
        assert [letter["subject"] for letter in sent] == [attempt]
        await product.until(READY, attempt)
        assert await dead_letters(operator) == []
        assert await dead_in(operator, "voice_clone_process") == 0
        assert await operator.one("dead-letters", "redrive", *PROCESSING, "--apply") == []
        assert await finding(operator, attempt) not in STUCK


async def dead_letters(operator: Operator) -> list[str]:
    """What each is about."""
    return [letter["subject"] for letter in await operator.one("dead-letters", *PROCESSING)]


async def dead_in(operator: Operator, name: str) -> int:
    queues = (await operator.one("stats"))["queues"]
    return next(each["dead_length"] for each in queues if each["queue"] == name)


@pytest.mark.long
async def test_an_erasure_whose_consumers_died_is_partial_and_completed_by_the_next(
    product: Product, prepared: bytes, operator: Operator
) -> None:
    """`erase`."""
    await product.start("service", LEASE_SECONDS="30")
    consumers = await product.start("consumers")
    with product.timeouts({"object_removal": "1 s"}):
        async with person(product) as ada:
            attempt = (await clone_file(ada, prepared, provider="qwen")).json()["attempt_id"]
            await launchable(ada, attempt)
            user = str(product.attempt(attempt)["user_id"])
        await product.kill(consumers)
        code, ((receipt,),) = await operator.run("erase", "user", user, "--apply")
        assert (code, receipt["status"]) == (1, "partial")
        assert {each["place"] for each in open_places(receipt)} == {"provider", "storage"}
        assert len(product.providers.voices("qwen")) == 1
        assert (await operator.run("erase", "show", receipt["erasure_id"]))[0] == 1

        await product.start("consumers")
        await until_status(product, attempt, "removed")
        await product.until(EMPTIED, user)
        (receipt,) = await operator.one("erase", "show", receipt["erasure_id"])
        assert (receipt["status"], open_places(receipt)) == ("complete", [])
        assert product.providers.voices("qwen") == []
        assert product.rows("select from storage.objects where name like %s", f"{user}%") == []
        _, ((again,),) = await operator.run("erase", "user", user, "--apply")
        assert {each["place"] for each in open_places(again)} <= {"storage"}, "an upload may still arrive"


def open_places(receipt: Mapping[str, Any]) -> list[Any]:
    return [each for each in receipt["places"] if each["confirmed_at"] is None]


@pytest.mark.long
async def test_what_expired_while_all_were_dead_is_due_and_then_gone(
    product: Product, prepared: bytes, operator: Operator
) -> None:
    """`retention`, `stats` and `doctor`."""
    service = await product.start("service", **PATIENT)
    consumers = await product.start("consumers")
    async with person(product) as ada:
        attempt = (await clone_file(ada, prepared)).json()["attempt_id"]
        await launchable(ada, attempt)
        await kill_all(product, service, consumers)
        with product.timeouts({"sample": "0 s", "preview": "0 s"}):
            due = await due_samples(operator)
            assert due >= 1
            await product.until(NOBODY)
            assert (await operator.one("stats"))["consumers"]["alive"] == 0
            await product.start("service", **PATIENT)
            await product.start("consumers")
            await product.until(
                "select from public.voice_samples where id = %s and removed_at is not null",
                product.attempt(attempt)["sample_id"],
            )
            assert await due_samples(operator) == 0
            assert (await operator.one("stats"))["consumers"]["alive"] == 1
        assert await finding(operator, attempt) not in STUCK


async def due_samples(operator: Operator) -> int:
    rows = await operator.one("retention")
    return next(each["due"] for each in rows if each["name"] == "sample")


@pytest.mark.long
async def test_the_parts_that_were_killed_are_named_until_they_are_back(
    product: Product, operator: Operator
) -> None:
    """`doctor` and `consents verify`, after a crash of Postgres too."""
    service = await product.start("service", **PATIENT)
    consumers = await product.start("consumers")
    cluster = product.stack.cluster
    async with person(product):
        port = cluster.port
        cluster.stop(immediately=True)
        cluster.start(port=port)
        await kill_all(product, service, consumers)
        await product.until(NOBODY)
        assert await faults(operator) >= {"consumers", "service"}
        await product.start("service", **PATIENT)
        await product.start("consumers")
        assert not await faults(operator) & {"consumers", "service"}
        assert (await operator.one("consents", "verify"))["broken"] == []


async def faults(operator: Operator) -> set[str]:
    """The parts that have one."""
    _, (report,) = await operator.run("doctor")
    return {each["part"] for each in report["findings"] if each["state"] == "fault"}


@pytest.mark.long
async def test_a_file_that_comes_after_all_were_killed_is_found_and_removed(
    product: Product, prepared: bytes, operator: Operator
) -> None:
    """`reconcile storage`. Its upload was opened before, expired, and was removed for the last time."""
    service = await product.start("service", **PATIENT)
    consumers = await product.start("consumers")
    async with person(product) as ada:
        upload = await ada.open(bytes=len(prepared))
        user = str(product.attempt(upload["attempt_id"])["user_id"])
        with product.timeouts({"upload": "0 s", "object_removal": "0 s"}):
            with product.connect() as connection:
                connection.execute("update voice_clone.deadlines set sweep_at = now()")
            expired = "select from public.voice_clone_attempts where id = %s and status = 'expired'"
            await product.until(expired, upload["attempt_id"])
            await product.until(EMPTIED, user)
            await kill_all(product, service, consumers)
            await ada.put(upload, prepared)
            storage = ("storage", "--older-than", "0s")
            assert await operator.findings(*storage) == (1, {"unowned": 1})
            assert await operator.findings(*storage, "--apply") == (1, {"unowned": 1})
            await product.start("service")
            await product.start("consumers")
            await product.until(EMPTIED, user)
        assert await operator.findings(*storage) == (0, {})
    assert product.rows("select from storage.objects where name like %s", f"{user}%") == []
