"""Fairness: one user's full queue does not delay another user's main job."""

import time

from tests.end_to_end.conftest import Person, Product, person

FLOOD = 16  # attempts of one user
TRIES = 3  # the best of so many jobs, alone and beside the flood
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
