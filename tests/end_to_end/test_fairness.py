"""Fairness: neither one user's full queue nor their calls of every route delay another user's main job."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import httpx
import pytest

from tests.end_to_end.conftest import Person, Product, person
from tests.routes import Route, fields, routes

FLOOD = 16  # attempts of one user
TRIES = 3  # the best of so many jobs, alone and beside the flood
AT_ONCE = 8  # calls of one user
NEVER = {("DELETE", "/v1/me")}  # the flood would end with its user
STORED: dict[str, str] = {"provider": "qwen"}


async def new_reflection(someone: Person) -> str:
    answer = await someone.client.gateway(
        "POST", "/rest/v1/reflections", json={"name": "Ada"}, headers={"prefer": "return=representation"}
    )
    return answer.json()[0]["id"]


async def job(someone: Person, content: bytes) -> float:
    """Seconds from the upload of a sample to a synced voice, for a reflection of its own."""
    started = time.monotonic()
    upload = await someone.upload(content, reflection_id=await new_reflection(someone), **STORED)
    await someone.finalize(upload)
    await someone.product.until(
        "select from public.voice_clone_attempts where id = %s and runtime_status = 'synced'",
        upload["attempt_id"],
    )
    return time.monotonic() - started


async def flood(someone: Person, content: bytes) -> None:
    """Many attempts of one inspected sample, each for a reflection of its own, queued at once."""
    upload = await someone.upload(content, **STORED)
    await someone.finalize(upload)
    sample = someone.product.attempt(upload["attempt_id"])["sample_id"]
    for _ in range(FLOOD):
        await someone.client.service(
            "POST",
            f"/v1/reflections/{await new_reflection(someone)}/voice/clone",
            json={"sample_id": str(sample), "name": "Ada", **STORED},
        )


@pytest.mark.long
async def test_a_main_job_beside_a_flood_takes_at_most_twice_as_long_as_alone(
    product: Product, prepared: bytes
) -> None:
    await product.start("service", MAX_JOBS_PER_USER="1", LEASE_SECONDS="30")
    await product.start("consumers")
    product.providers.fault("qwen", "create", "latency", seconds=1.0, times=1000)
    async with person(product) as ada, person(product) as bob:
        alone = min([await job(bob, prepared) for _ in range(TRIES)])
        await flood(ada, prepared)
        beside = [await job(bob, prepared)]
        waiting = product.row(
            "select count(*) as attempts from public.voice_clone_attempts"
            " where status = 'queued' and user_id = (select user_id from public.reflections where id = %s)",
            ada.reflection,
        )["attempts"]
        assert waiting > 0, "the flood ended before the job"
        messages = product.row("select count(*) as waiting from pgmq.q_voice_clone_process")["waiting"]
        deferred = product.row("select count(*) as waiting from voice_clone.deferred_messages")["waiting"]
        assert messages + deferred < waiting, "what waits for its turn has no message"
        while len(beside) < TRIES:
            beside.append(await job(bob, prepared))
        assert min(beside) <= 2 * alone, (beside, alone)
        await product.until(
            "select where not exists (select from public.voice_clone_attempts a"
            " join public.reflections r on r.user_id = a.user_id"
            " where r.id = any (%s::uuid[]) and a.status <> 'ready')",
            [ada.reflection, bob.reflection],
            seconds=120,
        )


async def call_in_turn(someone: Person, every: Iterator[Route], answers: Counter[tuple[str, str]]) -> None:
    """One call after the other until it is cancelled; an event stream is left as soon as it is open."""
    headers = someone.client.headers
    async with httpx.AsyncClient(
        base_url=someone.product.stack.api_url, headers=headers, trust_env=False, timeout=30
    ) as http:
        for route in every:
            body = fields(route.body) if route.method in {"POST", "PATCH"} else None
            async with http.stream(route.method, route.address(someone.reflection), json=body) as answer:
                answers[route.method, route.path] += 1
                assert answer.status_code < 500 or answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
                if "event-stream" not in answer.headers.get("content-type", ""):
                    await answer.aread()


@pytest.mark.long
async def test_a_main_job_beside_calls_of_every_route_takes_at_most_twice_as_long_as_alone(
    product: Product, prepared: bytes
) -> None:
    """The routes are the app's: a new one is among them."""
    await product.start("service", LEASE_SECONDS="30")
    await product.start("consumers")
    product.providers.fault("qwen", "create", "latency", seconds=1.0, times=1000)
    flooded: Sequence[Route] = [each for each in routes() if (each.method, each.path) not in NEVER]
    answers = Counter[tuple[str, str]]()
    async with person(product) as ada, person(product) as bob:
        alone = min([await job(bob, prepared) for _ in range(TRIES)])
        async with asyncio.TaskGroup() as tasks:
            every = itertools.cycle(flooded)  # of all callers together
            calls = [tasks.create_task(call_in_turn(ada, every, answers)) for _ in range(AT_ONCE)]
            beside = [await job(bob, prepared) for _ in range(TRIES)]
            for each in calls:
                each.cancel()
        assert answers.keys() == {(each.method, each.path) for each in flooded}
        assert min(beside) <= 2 * alone, (beside, alone)
