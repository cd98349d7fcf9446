"""Samples by themselves over HTTP: sent, inspected from the queue, reported, cloned, deleted."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from scripts.local.supabase.processes import Child
from tests.audio_samples import encoded
from tests.end_to_end.bad_files import spoken
from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_bad_input import answer, problem
from tests.end_to_end.test_our_failures import workers
from tests.end_to_end.test_reflection_voice import gate, launchable

SAMPLES, PLAIN = "/api/v1/voice-samples", "/api/voice-samples"
ID3 = b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10)  # as an MP3 may begin, and other files too
# As where the answer was lost.
FORGET = "update voice_clone.idempotency_keys set status = null, headers = null, body = null"
ENDED = "select * from public.voice_samples where id = %s and status in ('ready', 'failed')"


@pytest_asyncio.fixture(loop_scope="session")
async def ada(product: Product) -> AsyncIterator[Person]:
    await product.start("service", LEASE_SECONDS="30")
    async with person(product) as made:
        yield made


def call(ada: Person, content: bytes, **fields: str) -> dict[str, Any]:
    data = {"consentId": ada.consent, "language": "en", "name": "Ada", "transcript": "Hello.", **fields}
    return {"data": data, "files": {"file": ("sample.wav", content, "audio/wav")}}


async def send(ada: Person, content: bytes, path: str = SAMPLES, **fields: str) -> httpx.Response:
    return await answer(ada, "POST", path, **call(ada, content, **fields))


async def status(ada: Person, sample: str) -> dict[str, Any]:
    return (await answer(ada, "GET", f"{SAMPLES}/{sample}/status")).json()


def stored(ada: Person, sample: str) -> int:
    return ada.product.row(
        "select count(*) from storage.objects where bucket_id = 'voice-samples' and name like %s",
        f"%/{sample}/%",
    )["count"]


async def test_a_sample_is_sent_inspected_reported_cloned_and_deleted(ada: Person, prepared: bytes) -> None:
    sent = await send(ada, prepared)
    assert sent.status_code == 202, sent.text
    (sample,) = sent.json().values()
    assert (await status(ada, sample))["status"] in {"pending", "processing"}
    assert problem(await answer(ada, "GET", f"{SAMPLES}/{sample}/report")) == (409, "sample_not_inspected")
    await ada.product.start("consumers")
    await ada.product.until(ENDED, sample)
    told = await status(ada, sample)
    assert (told["sampleId"], told["status"], told["reason"], told["findings"]) == (sample, "ready", None, [])
    assert told["measures"]["sample_rate"] == 24_000
    report = (await answer(ada, "GET", f"{SAMPLES}/{sample}/report")).json()
    fits = {each["provider"]: each["fits"] for each in report["providers"]}
    assert {"local", "qwen", "elevenlabs", "cartesia"} <= fits.keys()
    assert fits["local"]
    words = next(each["words"] for each in report["providers"][0]["measures"] if each["measure"] == "seconds")
    assert "s of audio" in words
    (listed,) = (await answer(ada, "GET", SAMPLES)).json()
    assert (listed["sampleId"], listed["name"], listed["status"]) == (sample, "Ada", "ready")
    async with httpx.AsyncClient(trust_env=False) as http:
        file = await http.get(listed["fileUrl"], headers=ada.client.headers)
    assert file.content == prepared
    body = {"sample_id": sample, "name": "Ada"}
    cloned = await answer(ada, "POST", f"/v1/reflections/{ada.reflection}/voice/clone", json=body)
    assert cloned.status_code == 202, cloned.text
    await launchable(ada, cloned.json()["attempt_id"])
    assert (await gate(ada))["launchable"]
    refused = await answer(ada, "DELETE", f"{SAMPLES}/{sample}")
    assert problem(refused) == (409, "sample_in_use")
    (voice,) = refused.json()["voices"]
    assert (await answer(ada, "DELETE", f"/api/voices/{voice}")).status_code == 204
    assert (await answer(ada, "DELETE", f"{SAMPLES}/{sample}")).status_code == 204
    assert problem(await answer(ada, "GET", f"{SAMPLES}/{sample}/status")) == (404, "not_found")
    gone = "select where not exists (select from storage.objects where name like %s)"
    await ada.product.until(gone, f"%/{sample}/%")


async def test_a_refused_sample_says_why_and_its_file_goes(ada: Person) -> None:
    await ada.product.start("consumers")
    sample = (await send(ada, spoken(1.8), "/api/voice-samples")).json()["sampleId"]
    await ada.product.until(ENDED, sample)
    told = (await answer(ada, "GET", f"/api/voice-samples/{sample}/status")).json()
    assert told["status"] == "failed"
    assert told["reason"]["code"] == "sample_too_short"
    assert told["reason"]["message"] == "sample too short: 1.8 s, at least 3 s"
    assert told["findings"][0]["required"] == 3
    assert told["measures"]["seconds"] == 1.8
    report = (await answer(ada, "GET", f"/api/voice-samples/{sample}/report")).json()
    assert not any(each["fits"] for each in report["providers"])
    gone = "select where not exists (select from storage.objects where name like %s)"
    await ada.product.until(gone, f"%/{sample}/%")


async def test_what_is_no_mp3_behind_its_first_bytes_fails_as_one(ada: Person, tmp_path: Path) -> None:
    """Bytes before the frames hide what they are from the first look. The inspection finds it."""
    await ada.product.start("consumers")
    sent = await send(ada, ID3 + bytes(4) + encoded(tmp_path / "a.aac", "aac", 24_000).read_bytes())
    assert sent.status_code == 202, sent.text
    sample = sent.json()["sampleId"]
    await ada.product.until(ENDED, sample)
    told = await status(ada, sample)
    assert (told["status"], told["reason"]["code"]) == ("failed", "invalid_format")
    assert told["reason"]["help"] == "Send a WAV or an MP3 file."


async def test_four_seconds_are_ready_with_a_warning(ada: Person) -> None:
    await ada.product.start("consumers")
    sample = (await send(ada, spoken(4))).json()["sampleId"]
    await ada.product.until(ENDED, sample)
    told = await status(ada, sample)
    assert told["status"] == "ready", told
    assert "sample_short" in [each["code"] for each in told["warnings"]]


@pytest.mark.parametrize(
    ("content", "fields", "expected"),
    [
        (b"no audio at all", {}, (400, "invalid_format")),
        (b"", {}, (400, "invalid_format")),
        (b"OggS" + bytes(100), {}, (400, "invalid_format")),
        ("A text is no MP3. ".encode("utf-16") * 50, {}, (400, "invalid_format")),
        (ID3 + b"fLaC" + bytes(100), {}, (400, "invalid_format")),
        (None, {"consentId": str(uuid4())}, (422, "consent_required")),
        (None, {"consentId": "7"}, (422, "invalid_input")),
        (None, {"userId": str(uuid4())}, (422, "user_id_not_own")),
        (None, {"language": "english"}, (422, "invalid_input")),
        (None, {"name": "a\nb"}, (422, "invalid_name")),
        (None, {"transcript": "x" * 5000}, (422, "invalid_transcript")),
        (None, {"surprise": "1"}, (422, "invalid_input")),
    ],
)
async def test_what_makes_no_sense_is_refused_and_stores_nothing(
    ada: Person, content: bytes | None, fields: dict[str, str], expected: tuple[int, str]
) -> None:
    before = ada.product.row("select count(*) from public.voice_samples")
    sent = await send(ada, spoken(4) if content is None else content, **fields)
    assert problem(sent) == expected
    assert ada.product.row("select count(*) from public.voice_samples") == before


async def test_a_form_without_a_file_and_another_users_sample_are_refused(ada: Person) -> None:
    data = {"consentId": ada.consent, "language": "en", "file": "no file"}
    assert problem(await answer(ada, "POST", SAMPLES, data=data)) == (400, "malformed_body")
    files = {"other": ("a.wav", spoken(4), "audio/wav")}
    refused = await answer(
        ada, "POST", SAMPLES, data={"consentId": ada.consent, "language": "en"}, files=files
    )
    assert problem(refused) == (422, "sample_missing")
    sample = (await send(ada, spoken(4))).json()["sampleId"]
    async with person(ada.product) as eve:
        for method, path in (("GET", "/status"), ("GET", "/report"), ("DELETE", "")):
            assert problem(await answer(eve, method, f"{SAMPLES}/{sample}{path}")) == (404, "not_found")
        assert (await answer(eve, "GET", SAMPLES)).json() == []
        taken = await send(eve, spoken(4), consentId=ada.consent)
        assert problem(taken) == (422, "consent_required")
        assert taken.json()["field"] == "consentId"


async def test_the_addresses_without_a_version_answer_the_same(ada: Person) -> None:
    sample = (await send(ada, spoken(4), PLAIN)).json()["sampleId"]
    for path in ("", f"/{sample}/status", f"/{sample}/report", f"/{uuid4()}/status"):
        plain, versioned = [await answer(ada, "GET", f"{base}{path}") for base in (PLAIN, SAMPLES)]
        told = [each.json() for each in (plain, versioned)]
        for each in told:
            each.pop("request_id", None) if isinstance(each, dict) else None
        assert (plain.status_code, told[0]) == (versioned.status_code, told[1])
    assert (await answer(ada, "DELETE", f"{PLAIN}/{sample}")).status_code == 204
    assert problem(await answer(ada, "DELETE", f"{SAMPLES}/{sample}")) == (404, "not_found")


async def test_the_same_key_is_the_same_sample(ada: Person, prepared: bytes) -> None:
    ada.client.headers["idempotency-key"] = str(uuid4())
    first, second = await send(ada, prepared), await send(ada, prepared)
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    with ada.product.connect() as connection:
        connection.execute(FORGET)
    again = await send(ada, prepared)
    assert (again.status_code, again.json()) == (202, first.json())
    mine = "select count(*) from public.voice_samples where id = %s"
    assert ada.product.row(mine, first.json()["sampleId"])["count"] == 1


async def test_a_user_sends_so_many_samples_a_day(product: Product) -> None:
    await product.start("service", SAMPLES_PER_DAY="2")
    async with person(product) as ada:
        sent = [await send(ada, spoken(4)) for _ in range(3)]
    assert [each.status_code for each in sent] == [202, 202, 429]
    assert problem(sent[2]) == (429, "too_many_new_samples")
    assert int(sent[2].headers["retry-after"]) > 86_000


async def test_a_call_that_was_lost_at_the_limit_is_repeated_with_its_key(product: Product) -> None:
    await product.start("service", SAMPLES_PER_DAY="1")
    async with person(product) as ada:
        ada.client.headers["idempotency-key"] = str(uuid4())
        sent = await send(ada, spoken(4))
        product.row(f"{FORGET} where key = %s returning key", ada.client.headers["idempotency-key"])
        again = await send(ada, spoken(4))
        assert (again.status_code, again.json()) == (202, sent.json())
        ada.client.headers["idempotency-key"] = str(uuid4())
        assert problem(await send(ada, spoken(4))) == (429, "too_many_new_samples")


@pytest.fixture
def short_lease(product: Product) -> Iterator[None]:
    set_lease(product, 2)
    yield
    set_lease(product, 30)


def set_lease(product: Product, seconds: int) -> None:
    product.row(
        "update voice_clone.timeouts set value = make_interval(secs => %s) where name = 'inspection_lease'"
        " returning name",
        seconds,
    )


@pytest.mark.parametrize("what", ["worker", "postgres"])
async def test_a_crash_in_the_step_costs_no_sample(
    product: Product, prepared: bytes, short_lease: None, what: str
) -> None:
    service = await product.start("service")
    async with person(product) as ada:
        sample = (await send(ada, prepared)).json()["sampleId"]
        url = f"{product.stack.api_url}/internal/voice-samples/{sample}/prepare"
        headers = {"authorization": f"Bearer {product.stack.internal_token}"}
        async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
            asked = asyncio.create_task(http.post(url, headers=headers, json={}))
            await product.until(
                "select from public.voice_samples where id = %s and status = 'processing'", sample
            )
            if what == "worker":
                await product.kill(service)
            else:
                cluster = product.stack.cluster
                port = cluster.port
                cluster.stop(immediately=True)
                cluster.start(port=port)
            await asyncio.gather(asked, return_exceptions=True)
        set_lease(product, 30)  # for the next worker, however slow the machine is
        if what == "worker":
            await product.start("service")
        await product.start("consumers")
        await product.until(ENDED, sample)
        row = product.row("select * from public.voice_samples where id = %s", sample)
        assert (row["status"], row["error_code"]) == ("ready", None)
        assert row["process_count"] <= row["process_budget"]


async def test_an_inspection_that_takes_too_long_is_tried_once_more(product: Product) -> None:
    """The kernel ends a worker that used up its CPU time by this signal."""
    service = await product.start("service")
    await product.start("consumers")
    async with person(product) as ada:
        sample = (await send(ada, spoken(20))).json()["sampleId"]
        for tries in (1, 2):
            await product.until(PROCESSED, sample, tries)
            await until_killed(service, signal.SIGXCPU)
        await product.until(ENDED, sample)
        told = await status(ada, sample)
        assert (told["status"], told["reason"]["code"]) == ("failed", "inspection_timed_out")
        assert told["reason"]["message"] == "Inspecting this sample took too long."
        again = (await send(ada, spoken(4))).json()["sampleId"]
        await product.until(ENDED, again)
        assert (await status(ada, again))["status"] == "ready"


PROCESSED = "select from public.voice_samples where id = %s and status = 'processing' and process_count = %s"


async def until_killed(service: Child, number: signal.Signals) -> None:
    """The worker that inspects: it is there soon after the sample is claimed."""
    async with asyncio.timeout(30):
        while not (found := workers(service)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    for worker in found:
        os.kill(worker, number)


async def until_stopped(service: Child, before: set[int]) -> set[int]:
    """The next worker that inspects, and its job: a second look finds what it forked before it stopped."""
    stopped: set[int] = set()
    async with asyncio.timeout(30):
        while (found := set(workers(service)) - before - stopped) or not stopped:
            for process in found:
                os.kill(process, signal.SIGSTOP)
            stopped |= found
            await asyncio.sleep(0.02)
    return stopped


async def test_a_sample_is_claimed_once_an_inspection_can_begin(product: Product) -> None:
    """While it waits, it has no lease, and uses up nothing."""
    service = await product.start("service")
    await product.start("consumers")
    async with person(product) as ada, person(product) as bob, person(product) as eve:
        sent: list[str] = []
        stopped: set[int] = set()
        for each in (ada, bob):
            sent.append((await send(each, spoken(30))).json()["sampleId"])
            await product.until(PROCESSED, sent[-1], 1)
            stopped |= await until_stopped(service, stopped)
        waiting = (await send(eve, spoken(4))).json()["sampleId"]
        message = "select msg_id from pgmq.q_voice_samples where message ->> 'id' = %s"
        first = await product.until(message, waiting)
        await product.until(f"{message} and msg_id > %s", waiting, first["msg_id"])  # to be read again later
        row = product.row("select * from public.voice_samples where id = %s", waiting)
        assert (row["status"], row["process_count"], row["error_code"]) == ("pending", 0, None)
        for process in stopped:
            os.kill(process, signal.SIGCONT)
        for sample in (*sent, waiting):
            await product.until(ENDED, sample)
            row = product.row("select * from public.voice_samples where id = %s", sample)
            assert (row["status"], row["process_count"]) == ("ready", 1)


async def test_a_finalize_goes_on_where_an_earlier_one_stopped(ada: Person, prepared: bytes) -> None:
    """The sample became ready, and the process was killed before the attempt was queued."""
    upload = await ada.upload(prepared)
    ada.product.row(
        "select voice_clone.complete_sample(s.id, c.lease_epoch, 'audio/wav', s.bytes, '{}', s.path, s.bytes)"
        " from public.voice_clone_attempts a join public.voice_samples s on s.id = a.sample_id"
        " cross join lateral voice_clone.claim_upload(a.id, a.user_id, 'killed') c where a.id = %s",
        upload["attempt_id"],
    )
    before = workers_of(ada)
    assert (await ada.finalize(upload)).status_code in {201, 202}
    assert workers_of(ada) == before, "nothing was inspected again"
    assert ada.product.attempt(upload["attempt_id"])["status"] in {"queued", "processing", "ready"}


def workers_of(ada: Person) -> list[int]:
    services = [child for child in ada.product.stack.processes.children if child.name == "service"]
    return [pid for service in services for pid in workers(service)]
