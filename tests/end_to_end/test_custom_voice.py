"""A custom voice from the PATCH to the launch gate: refusals and crashes."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from backend.providers.base import EnrollRequest, new_label
from backend.providers.elevenlabs.adapter import ElevenLabs
from backend.providers.qwen.adapter import Qwen
from backend.web.http_client import HttpClient
from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_bad_input import answer, problem
from tests.end_to_end.test_crashes import DESCRIBING, crash, stuck_at
from tests.end_to_end.test_reflection_voice import gate, launchable
from tests.simulators import BytesSample

GONE = "There is no such voice at this provider."


@pytest_asyncio.fixture(loop_scope="session")
async def ada(product: Product) -> AsyncIterator[Person]:
    await product.start("service", LEASE_SECONDS="30")
    async with person(product) as made:
        yield made


async def stock(product: Product, provider: str, prepared: bytes, target_model: str | None = None) -> str:
    """A German voice of the service's account that Likeness did not create."""
    async with HttpClient() as http:
        if provider == "qwen":
            how = {"target_model": target_model} if target_model else {}
            adapter: Any = Qwen(product.providers.qwen(send_sample_as="data_url", **how), http)
        else:
            adapter = ElevenLabs(product.providers.elevenlabs(), http)
        request = EnrollRequest(
            label=new_label(), name="Stock", language="de", transcript=None, sample=BytesSample(prepared)
        )
        return (await adapter.enroll(request)).provider_voice_id


async def embedded(ada: Person, prepared: bytes) -> str:
    """A Spanish voice in Ada's library, at the embedded provider."""
    upload = await ada.upload(prepared, reflection_id=None)
    return (await ada.finalize(upload, language="es")).json()["voice"]["provider_voice_id"]


async def use(person: Person, provider: str, voice: str, **changes: Any) -> httpx.Response:
    body = {"provider": provider, "provider_voice_id": voice, **changes}
    return await answer(person, "PATCH", f"/v1/reflections/{person.reflection}/voice", json=body)


@pytest.mark.parametrize("provider", ["qwen", "elevenlabs", "local"])
async def test_a_voice_of_the_provider_goes_all_the_way(
    ada: Person, product: Product, prepared: bytes, provider: str
) -> None:
    await product.start("consumers")
    voice = await (embedded(ada, prepared) if provider == "local" else stock(product, provider, prepared))
    accepted = await use(ada, provider, voice)
    assert accepted.status_code == 202, accepted.text
    attempt = accepted.json()
    assert (attempt["source"], attempt["provider"], attempt["name"]) == ("custom_voice", provider, "Ada")
    assert attempt["language"] == {"qwen": "de", "elevenlabs": "en", "local": "es"}[provider]
    await launchable(ada, attempt["attempt_id"])
    assert await gate(ada) == {"launchable": True, "blockers": []}
    again = await use(ada, provider, voice)
    assert again.json()["attempt_id"] == attempt["attempt_id"], "the same voice again changes nothing"
    assert (await gate(ada))["launchable"]
    path = f"/v1/reflections/{ada.reflection}"
    timeline = (await answer(ada, "GET", f"{path}/voice-clone-attempts/{attempt['attempt_id']}")).json()
    assert [taken for event in timeline["events"] for taken in event["events"]] == [
        "opened", "queued", "claimed", "enrolled", "runtime_syncing", "runtime_synced",
        "preview_rendering", "preview_rendered", "preview_completed",
    ]  # fmt: skip
    mirrored = (
        "select voice from public.reflections where id = %s and voice ->> 'previewStatus' = 'completed'"
    )
    mirror = (await product.until(mirrored, ada.reflection))["voice"]
    assert (mirror["provider"], mirror["voiceId"]) == (provider, attempt["voice_id"])
    shown = (await answer(ada, "GET", f"{path}/voice")).json()
    assert (shown["source"], shown["voice"]["provider"]) == ("custom_voice", provider)
    made = product.row(
        "select count(*) from voice_clone.enrollments where attempt_id = %s", attempt["attempt_id"]
    )
    assert made["count"] == 0
    speech = await answer(
        ada, "POST", "/api/generate", json={"voice_id": attempt["voice_id"], "text": "Hello."}
    )
    assert (speech.status_code, speech.content[:4]) == (200, b"RIFF")
    assert (await answer(ada, "DELETE", f"/api/voices/{attempt['voice_id']}")).status_code == 204
    if provider != "local":
        assert [each["voice_id"] for each in product.providers.voices(provider)] == [voice]
        assert product.providers.calls(provider, "delete") == []


@pytest.mark.parametrize(
    "provider",
    [
        "qwen",
        "modal",
        "local",
        pytest.param("elevenlabs", marks=pytest.mark.long),
        pytest.param("cartesia", marks=pytest.mark.long),
        pytest.param("pipecat", marks=pytest.mark.long),
    ],
)
async def test_the_voice_of_another_user_is_refused_like_a_missing_one(
    ada: Person, product: Product, prepared: bytes, provider: str
) -> None:
    upload = await ada.upload(prepared, reflection_id=None, provider=provider)
    hers = (await ada.finalize(upload)).json()["voice"]["provider_voice_id"]
    async with person(product) as bob:
        refused = [await use(bob, provider, voice) for voice in (hers, hers[:-1] + "_")]
        shown = await answer(bob, "GET", f"/v1/reflections/{bob.reflection}/voice-clone-attempts")
    assert [problem(each) for each in refused] == [(422, "voice_not_found")] * 2
    bodies = [{**each.json(), "request_id": None} for each in refused]
    assert bodies[0] == bodies[1]
    assert (bodies[0]["detail"], bodies[0]["field"]) == (GONE, "provider_voice_id")
    assert shown.json() == []


async def test_a_model_that_is_not_spoken_with_is_told_of_ones_own_voice_only(
    ada: Person, product: Product, prepared: bytes
) -> None:
    older = await stock(product, "qwen", prepared, target_model="qwen3-tts-vc-2025-11-27")
    refused = await use(ada, "qwen", older)
    assert problem(refused) == (422, "target_model_unsupported")
    assert refused.json()["supported"] == ["qwen3-tts-vc-2026-01-22"]
    upload = await ada.upload(prepared, reflection_id=None, provider="qwen")
    hers = (await ada.finalize(upload)).json()["voice"]["provider_voice_id"]
    await product.stop()
    await product.start("service", QWEN_TARGET_MODEL="qwen3-tts-vc-2027-01-01")
    assert problem(await use(ada, "qwen", hers)) == (422, "target_model_unsupported")
    async with person(product) as bob:
        assert problem(await use(bob, "qwen", hers)) == (422, "voice_not_found")


async def test_an_unverified_voice_waits_for_its_speaker(
    ada: Person, product: Product, prepared: bytes
) -> None:
    product.providers.fault("elevenlabs", "create", "verification_required")
    voice = await stock(product, "elevenlabs", prepared)
    assert problem(await use(ada, "elevenlabs", voice)) == (422, "voice_not_verified")
    product.providers.verify(voice)
    assert (await use(ada, "elevenlabs", voice)).status_code == 202


async def test_whatever_is_refused_leaves_the_voice_that_worked(
    ada: Person, product: Product, prepared: bytes
) -> None:
    consumers = await product.start("consumers")
    voice = await stock(product, "elevenlabs", prepared)
    working = (await use(ada, "elevenlabs", voice)).json()["attempt_id"]
    await launchable(ada, working)
    await product.kill(consumers)
    before = product.attempt(working)
    denied = {"status": 403, "code": "voice_access_denied"}
    for sent, fault, expected in [
        ((ada, "elevenlabs", "nothing-of-that-id"), None, (422, "voice_not_found")),
        ((ada, "elevenlabs", "../voices"), None, (422, "voice_not_found")),
        ((ada, "elevenlabs", "\x00"), None, (422, "voice_not_found")),
        ((ada, "elevenlabs", ""), None, (422, "invalid_input")),
        ((ada, "elevenlabs", "x" * 201), None, (422, "invalid_input")),
        ((ada, "nobody", voice), None, (422, "provider_not_configured")),
        ((ada, "elevenlabs", voice), {"fault": "error", **denied}, (422, "voice_access_denied")),
        ((ada, "elevenlabs", voice), {"fault": "throttled"}, (503, "provider_unavailable")),
        ((ada, "elevenlabs", voice), {"fault": "reset"}, (503, "provider_unavailable")),
        ((ada, "elevenlabs", voice), {"fault": "wrong_key"}, (502, "provider_rejected")),
    ]:
        if fault is not None:
            product.providers.fault("elevenlabs", "get", **fault)
        assert problem(await use(*sent)) == expected, (sent, fault)
    for changes, code in [({"language": "xx"}, "language_unsupported"), ({"name": " "}, "invalid_name")]:
        assert problem(await use(ada, "qwen", await stock(product, "qwen", prepared), **changes)) == (
            422,
            code,
        )
    assert product.attempt(working) == before
    assert (await gate(ada))["launchable"]


async def test_a_reflection_of_another_is_not_there(ada: Person, product: Product) -> None:
    async with person(product) as bob:
        path = f"/v1/reflections/{ada.reflection}/voice"
        body = {"provider": "local", "provider_voice_id": "x"}
        assert problem(await answer(bob, "PATCH", path, json=body)) == (404, "not_found")


async def test_a_voice_that_vanished_meanwhile_fails_with_the_reason(
    ada: Person, product: Product, prepared: bytes
) -> None:
    voice = await stock(product, "elevenlabs", prepared)
    attempt_id = (await use(ada, "elevenlabs", voice)).json()["attempt_id"]
    async with HttpClient() as http:
        await ElevenLabs(product.providers.elevenlabs(), http).delete(voice)
    await product.start("consumers")
    failed = "select * from public.voice_clone_attempts where id = %s and status = 'failed'"
    attempt = await product.until(failed, attempt_id)
    assert (attempt["error_code"], attempt["error_message"]) == ("voice_not_found", GONE)
    assert (await gate(ada))["blockers"] == ["clone_failed"]


async def test_a_provider_that_is_away_meanwhile_is_asked_again(
    ada: Person, product: Product, prepared: bytes
) -> None:
    voice = await stock(product, "elevenlabs", prepared)
    attempt_id = (await use(ada, "elevenlabs", voice)).json()["attempt_id"]
    product.providers.fault("elevenlabs", "get", "reset", times=2)
    await product.start("consumers")
    ready = "select * from public.voice_clone_attempts where id = %s and status = 'ready'"
    assert (await product.until(ready, attempt_id))["process_count"] == 1, "an outage counts no try"


@pytest.mark.parametrize("what", ["worker", pytest.param("postgres", marks=pytest.mark.long)])
@pytest.mark.parametrize("point", ["inside the call", "after the call"])
@pytest.mark.parametrize("provider", ["qwen", "elevenlabs"])
async def test_a_crash_in_its_process_step_ends_ready(
    product: Product, prepared: bytes, provider: str, point: str, what: str
) -> None:
    service = await product.start("service", MAX_JOBS_PER_USER="1")
    voice = await stock(product, provider, prepared)
    async with person(product) as ada:
        attempt_id = (await use(ada, provider, voice)).json()["attempt_id"]
        reached = {"inside the call": "before the call"}.get(point, point)
        async with stuck_at(product, provider, reached, attempt_id, DESCRIBING[provider]):
            await crash(product, what, service)
        product.providers.release()
        if what == "worker":
            await product.start("service")
        await product.start("consumers")
        await product.until(
            "select from public.voice_clone_attempts where id = %s and status in ('ready', 'failed')",
            attempt_id,
        )
    attempt = product.attempt(attempt_id)
    assert (attempt["status"], attempt["provider_voice_id"]) == ("ready", voice), attempt["error_code"]
    assert attempt["process_count"] <= attempt["process_budget"]
    assert [each["voice_id"] for each in product.providers.voices(provider)] == [voice]
