"""Speech jobs over HTTP: sample and text in, the address of the speech out; one voice, whatever fails."""

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import numpy as np
import pytest
import pytest_asyncio

from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_bad_input import answer, problem
from tests.end_to_end.test_crashes import crash
from tests.end_to_end.test_idempotency import new_key, post
from tests.end_to_end.test_removal import until_empty

TEXT = "The wind was strong, and it blew as hard as it could."
CLONE = "/api/v1/clone"


@pytest_asyncio.fixture(loop_scope="session")
async def ada(product: Product) -> AsyncIterator[Person]:
    await product.start("service", LEASE_SECONDS="30", ENROLLMENT_SETTLE_SECONDS="60")
    await product.start("consumers")
    async with person(product) as made:
        yield made


async def ready_sample(ada: Person, prepared: bytes, provider: str = "local") -> str:
    """Inspected, and cloned at this provider."""
    upload = await ada.upload(prepared, reflection_id=None, provider=provider)
    finalized = await ada.finalize(upload)
    assert finalized.status_code == 201, finalized.text
    return str(ada.product.attempt(upload["attempt_id"])["sample_id"])


async def request(ada: Person, sample: str, text: str = TEXT, **more: Any) -> str:
    made = await answer(ada, "POST", CLONE, json={"sampleId": sample, "text": text, **more})
    assert made.status_code == 202, made.text
    assert set(made.json()) == {"jobId"}
    return made.json()["jobId"]


async def until_ended(ada: Person, job: str, seconds: float = 60) -> dict[str, Any]:
    ended = "select from public.speech_jobs where id = %s and status in ('succeeded', 'failed')"
    await ada.product.until(ended, job, seconds=seconds)
    return (await answer(ada, "GET", f"{CLONE}/{job}/status")).json()


async def download(ada: Person, job: str) -> np.ndarray:
    result = await answer(ada, "GET", f"{CLONE}/{job}/result")
    assert result.status_code == 200, result.text
    async with httpx.AsyncClient(trust_env=False) as http:
        speech = await http.get(result.json()["audioUrl"])
    assert speech.status_code == 200
    assert len(speech.content) == result.json()["bytes"]
    with wave.open(io.BytesIO(speech.content)) as file:
        assert (file.getsampwidth(), file.getnchannels()) == (2, 1)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
        assert len(samples) > file.getframerate(), "longer than a second"
    assert np.sqrt(np.mean(samples**2)) > 300, "not silent"
    return samples


def voices(product: Product, sample: str, provider: str) -> int:
    return product.row(
        "select count(*) from public.voices v join public.voice_clone_attempts a on a.id = v.attempt_id"
        " where a.sample_id = %s and v.tts_provider = %s", sample, provider,
    )["count"]  # fmt: skip


def creates(product: Product, sample: str) -> int:
    """Of this sample at Qwen: the consumers may also end the work that an earlier test left."""
    labels = product.rows(
        "select e.label from voice_clone.enrollments e"
        " join public.voice_clone_attempts a on a.id = e.attempt_id where a.sample_id = %s", sample,
    )  # fmt: skip
    return sum(len(product.providers.calls("qwen", "create", each["label"])) for each in labels)


@pytest.mark.parametrize(
    "provider",
    [
        "local",
        "qwen",
        "modal",
        *(pytest.param(each, marks=pytest.mark.long) for each in ("elevenlabs", "cartesia", "pipecat")),
    ],
)
async def test_a_text_is_spoken_with_a_voice_that_the_job_makes(
    ada: Person, prepared: bytes, provider: str
) -> None:
    sample = await ready_sample(ada, prepared, "qwen" if provider == "local" else "local")
    job = await request(ada, sample, provider=provider, name="Mine")
    shown = await until_ended(ada, job)
    assert (shown["status"], shown["error"], shown["provider"]) == ("succeeded", None, provider)
    assert shown["sampleId"] == sample
    await download(ada, job)
    again = await request(ada, sample, provider=provider)
    assert (await until_ended(ada, again))["attemptId"] == shown["attemptId"]
    assert voices(ada.product, sample, provider) == 1
    listed = (await answer(ada, "GET", CLONE)).json()
    assert [each["jobId"] for each in listed] == [again, job]
    (voice,) = [v for v in (await answer(ada, "GET", "/api/voices")).json() if v["tts_provider"] == provider]
    assert voice["name"] == "Mine"


async def test_the_addresses_without_a_version_answer_the_same(ada: Person, prepared: bytes) -> None:
    sample = await ready_sample(ada, prepared)
    made = await answer(ada, "POST", "/api/clone", json={"sampleId": sample, "text": TEXT})
    job = made.json()["jobId"]
    await until_ended(ada, job)
    for path in ("", f"/{job}/status"):
        plain, versioned = [(await answer(ada, "GET", f"{base}{path}")) for base in ("/api/clone", CLONE)]
        assert (plain.status_code, plain.json()) == (200, versioned.json())
    assert (await answer(ada, "GET", f"/api/clone/{job}/result")).status_code == 200
    assert problem(await answer(ada, "POST", f"/api/clone/{job}/retry")) == (409, "nothing_to_retry")
    assert (await answer(ada, "DELETE", f"/api/clone/{job}")).status_code == 204
    assert problem(await answer(ada, "GET", f"{CLONE}/{job}/status")) == (404, "not_found")
    await until_empty(ada, f"%/{job}/")


async def test_a_long_text_is_spoken_in_parts(ada: Person, prepared: bytes) -> None:
    sample = await ready_sample(ada, prepared, "qwen")
    short = await request(ada, sample, provider="qwen")
    long = await request(ada, sample, f"{TEXT} " * 25, provider="qwen")
    assert [(await until_ended(ada, each))["status"] for each in (short, long)] == ["succeeded"] * 2
    assert len(await download(ada, long)) > 20 * len(await download(ada, short))
    assert len(ada.product.providers.calls("qwen", "speech", "wind")) == 4


async def test_jobs_at_once_for_one_sample_share_one_voice(ada: Person, prepared: bytes) -> None:
    sample = await ready_sample(ada, prepared)
    ids = await asyncio.gather(*(request(ada, sample, f"Number {n}.", provider="qwen") for n in range(6)))
    for job in ids:
        assert (await until_ended(ada, job))["status"] == "succeeded"
    assert voices(ada.product, sample, "qwen") == 1
    assert creates(ada.product, sample) == 1


async def test_the_same_key_is_the_same_job(ada: Person, prepared: bytes) -> None:
    sample = await ready_sample(ada, prepared)
    key, body = new_key(), {"sampleId": sample, "text": TEXT}
    first = await post(ada, CLONE, key, json=body)
    again = await post(ada, CLONE, key, json=body)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    assert problem(await post(ada, CLONE, key, json=body | {"text": "Other."})) == (
        409,
        "idempotency_key_reused",
    )
    assert len((await answer(ada, "GET", CLONE)).json()) == 1


async def test_a_speech_that_is_refused_fails_and_is_retried(product: Product, prepared: bytes) -> None:
    service = await product.start("service", LEASE_SECONDS="30", ENROLLMENT_SETTLE_SECONDS="60")
    await product.start("consumers")
    async with person(product) as ada:
        request_id = await fail_and_retry(ada, await ready_sample(ada, prepared, "elevenlabs"))
    lines = [
        msgspec.json.decode(line) for line in service.output().splitlines() if "inference_failed" in line
    ]
    (line,) = [line for line in lines if line["event"] == "inference_failed"]
    told = (line["provider"], line["provider_request_id"], line["reason"])
    assert told == ("elevenlabs", request_id, "provider_rejected")


async def fail_and_retry(ada: Person, sample: str) -> str:
    """The request id of the provider's call that failed."""
    providers = ada.product.providers
    providers.fault("elevenlabs", "speech", "error", status=400, code="odd")
    job = await request(ada, sample, provider="elevenlabs")
    shown = await until_ended(ada, job)
    assert (shown["status"], shown["error"]["code"]) == ("failed", "inference_failed")
    assert shown["error"]["providerRequestId"]
    assert shown["error"]["message"]
    assert shown["error"]["help"] == "Retry the job, or send the text again with another provider."
    failed = await answer(ada, "GET", f"{CLONE}/{job}/result")
    assert problem(failed) == (502, "inference_failed")
    assert failed.json()["help"] == shown["error"]["help"]
    assert failed.json()["provider_request_id"] == shown["error"]["providerRequestId"]
    spoken = {call["provider"] for call in providers.state()["calls"] if call["operation"] == "speech"}
    assert spoken == {"elevenlabs"}, "no other voice answered"
    retried = await answer(ada, "POST", f"{CLONE}/{job}/retry")
    assert (retried.status_code, retried.json()) == (202, {"jobId": job})
    request_id = shown["error"]["providerRequestId"]
    shown = await until_ended(ada, job)
    assert (shown["status"], shown["error"], shown["retryCount"]) == ("succeeded", None, 1)
    await download(ada, job)
    return request_id


async def test_an_attempt_that_fails_fails_its_job_with_its_words(ada: Person, prepared: bytes) -> None:
    sample = await ready_sample(ada, prepared)
    ada.product.providers.fault("elevenlabs", "create", "error", status=400, code="audio_too_short")
    job = await request(ada, sample, provider="elevenlabs")
    shown = await until_ended(ada, job)
    assert (shown["status"], shown["error"]["code"]) == ("failed", "sample_too_short")
    await answer(ada, "POST", f"{CLONE}/{job}/retry")
    assert (await until_ended(ada, job))["status"] == "succeeded"


async def test_an_outage_is_waited_for_and_shown(ada: Person, prepared: bytes) -> None:
    sample = await ready_sample(ada, prepared, "qwen")
    providers = ada.product.providers
    providers.fault("qwen", "speech", "throttled", times=3)
    job = await request(ada, sample, provider="qwen")
    waits = "select from public.speech_jobs where id = %s and error_code = 'provider_throttled'"
    await ada.product.until(waits, job)
    early = await answer(ada, "GET", f"{CLONE}/{job}/result")
    assert problem(early) == (409, "speech_not_ready")
    assert early.headers["retry-after"] == "2"
    assert (await until_ended(ada, job))["status"] == "succeeded"
    row = ada.product.row("select try_count from public.speech_jobs where id = %s", job)
    assert row["try_count"] == 1


async def test_a_request_that_cannot_work_is_refused_at_once(ada: Person, prepared: bytes) -> None:
    sample = await ready_sample(ada, prepared)
    body = {"sampleId": sample, "text": TEXT}
    for change, expected in [
        ({"text": ""}, (422, "invalid_input")),
        ({"text": " ...! "}, (422, "text_empty")),
        ({"text": "a\x07b"}, (422, "invalid_text")),
        ({"text": "x" * 50_001}, (422, "invalid_input")),
        ({"sampleId": str(uuid4())}, (404, "not_found")),
        ({"sample_id": sample}, (422, "invalid_input")),
        ({"provider": "of-nobody"}, (422, "provider_not_configured")),
        ({"name": ""}, (422, "invalid_name")),
        ({"text": TEXT * 900, "provider": "qwen"}, (422, "text_too_long")),
    ]:
        assert problem(await answer(ada, "POST", CLONE, json=body | change)) == expected, change
    assert voices(ada.product, sample, "qwen") == 0, "no voice is made for a text that cannot be spoken"
    unknown = await answer(ada, "POST", CLONE, json=body | {"provider": "of-nobody"})
    assert unknown.json()["detail"] == "The voice provider 'of-nobody' is not set up here."
    opened = ada.product.attempt((await ada.open())["attempt_id"])
    waiting = {"sampleId": str(opened["sample_id"]), "text": TEXT}
    assert problem(await answer(ada, "POST", CLONE, json=waiting)) == (409, "sample_not_ready")
    async with person(ada.product) as bob:
        assert problem(await answer(bob, "POST", CLONE, json=body)) == (404, "not_found")
        job = await request(ada, sample)
        for method, path in (("GET", "status"), ("GET", "result"), ("POST", "retry")):
            assert problem(await answer(bob, method, f"{CLONE}/{job}/{path}")) == (404, "not_found")
        assert problem(await answer(bob, "DELETE", f"{CLONE}/{job}")) == (404, "not_found")
        assert (await answer(bob, "GET", CLONE)).json() == []


async def test_a_revoked_consent_ends_its_jobs_and_takes_what_they_spoke(
    ada: Person, prepared: bytes
) -> None:
    sample = await ready_sample(ada, prepared, "elevenlabs")
    done = await request(ada, sample, provider="elevenlabs")
    await until_ended(ada, done)
    result = (await answer(ada, "GET", f"{CLONE}/{done}/result")).json()
    ada.product.providers.fault("elevenlabs", "speech", "latency", seconds=3)
    running = await request(ada, sample, provider="elevenlabs")
    await asyncio.to_thread(ada.product.providers.wait, "elevenlabs", "speech", count=2)
    await answer(ada, "DELETE", f"/v1/consents/{ada.consent}")
    shown = (await answer(ada, "GET", f"{CLONE}/{running}/status")).json()
    assert (shown["status"], shown["error"]["code"]) == ("failed", "consent_revoked")
    assert problem(await answer(ada, "GET", f"{CLONE}/{done}/result")) == (409, "speech_removed")
    await until_empty(ada, f"%/{done}/")
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(result["audioUrl"])).status_code in (400, 404)
    assert problem(await answer(ada, "POST", f"{CLONE}/{running}/retry")) == (409, "speech_removed")


@pytest.mark.parametrize("what", ["worker", pytest.param("postgres", marks=pytest.mark.long)])
@pytest.mark.parametrize("point", ["in the call", "in the upload", "before the end"])
async def test_a_crash_costs_nothing(product: Product, prepared: bytes, point: str, what: str) -> None:
    """The service is killed, or Postgres restarted, at a point of the step: one speech, no second voice."""
    service = await product.start("service", LEASE_SECONDS="2")
    async with person(product) as ada:
        sample = await ready_sample(ada, prepared, "qwen")
        job = await request(ada, sample, provider="qwen")
        locker = product.connect()
        if point == "in the call":
            product.providers.fault("qwen", "speech", "hang")
        elif point == "in the upload":
            locker.execute("begin; lock table storage.objects in access exclusive mode")
        else:
            hold = (
                "create function public.hold() returns trigger language plpgsql as"
                " 'begin perform pg_advisory_xact_lock_shared(4712); return new; end';"
                "create trigger hold before update on public.speech_jobs for each row"
                " when (new.status = 'succeeded') execute function public.hold()"
            )
            locker.execute(hold)
            locker.execute("select pg_advisory_lock(4712)")
        url = f"{product.stack.api_url}/internal/speech-jobs/{job}/speak"
        headers = {"authorization": f"Bearer {product.stack.internal_token}"}
        async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
            asked = asyncio.create_task(http.post(url, headers=headers, json={}))
            if point == "in the call":
                await asyncio.to_thread(product.providers.wait, "qwen", "speech")
            else:
                await product.until("select from pg_stat_activity where wait_event_type = 'Lock'")
            await crash(product, what, service)
            await asyncio.gather(asked, return_exceptions=True)
        locker.close()
        product.providers.release()
        with product.connect() as connection:
            connection.execute("drop function if exists public.hold cascade")
        if what == "worker":
            await product.start("service")
        await product.start("consumers")
        shown = await until_ended(ada, job)
        assert shown["status"] == "succeeded", shown
        await download(ada, job)
        row = product.row("select * from public.speech_jobs where id = %s", job)
        assert row["try_count"] <= row["try_budget"]
        assert voices(product, sample, "qwen") == 1
        assert creates(product, sample) == 1
    assert product.row("select sum(dead_length) as n from voice_clone.queue_metrics()")["n"] == 0
