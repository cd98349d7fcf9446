"""An operator's commands after a kill: they name the fault, repair it, and find nothing then."""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from scripts.local.supabase.processes import Child
from tests.end_to_end.conftest import PATIENT, Product, person
from tests.end_to_end.test_cleanup import abandoned_create, until_status
from tests.end_to_end.test_crashes import queue, stuck_at
from tests.preloaded import command

SHORT = {"orphan_grace": "0.2 s", "lost_message": "1 s"}
STUCK = {"dead_letter", "no_consumer", "lease_ended", "sweep_overdue", "sweep_error"}
LEASE_ENDED = "select from voice_clone.deadlines where attempt_id = %s and lease_expires_at <= now()"
SHOWN = "select from public.reflections where id = %s and voice ->> 'attemptId' = %s"
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
