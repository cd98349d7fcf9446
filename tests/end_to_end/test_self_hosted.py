"""A self-hosted model, whose voice is the sample in Storage: crashes, removal, and a sample that is gone."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_bad_input import answer, problem
from tests.end_to_end.test_cleanup import short_times, until_status
from tests.end_to_end.test_crashes import crash, queue, stuck_at

__all__ = ["short_times"]
SLOW = {"LEASE_SECONDS": "30", "ENROLLMENT_SETTLE_SECONDS": "60"}
POINTS = ("before the intent", "after the intent", "after the call")  # a check of the model commits nothing


def profiles(product: Product, provider: str) -> int:
    """The voices of a model, as Storage has them."""
    return product.row(
        "select count(*) from storage.objects where bucket_id = 'reference-voices' and name like %s",
        f"{provider}-voice-%",
    )["count"]


async def speak(ada: Person, voice_id: str) -> httpx.Response:
    return await answer(ada, "POST", "/api/generate", json={"voice_id": voice_id, "text": "Hello."})


async def remove_sample(product: Product, path: str) -> None:
    key = product.stack.secret_key
    async with httpx.AsyncClient(trust_env=False) as http:
        removed = await http.request(
            "DELETE",
            f"{product.stack.supabase_url}/storage/v1/object/voice-samples",
            headers={"apikey": key, "authorization": f"Bearer {key}"},
            json={"prefixes": [path]},
        )
    assert [each["name"] for each in removed.json()] == [path]


@pytest.mark.parametrize("what", ["worker", pytest.param("postgres", marks=pytest.mark.long)])
@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_makes_no_second_voice(
    product: Product, prepared: bytes, point: str, what: str
) -> None:
    before = profiles(product, "modal")
    service = await product.start("service", FINALIZE_WAIT_SECONDS="0", MAX_JOBS_PER_USER="1")
    async with person(product) as ada:
        upload = await ada.upload(prepared, provider="modal")
        attempt_id = upload["attempt_id"]
        queue(product, upload)
        async with stuck_at(product, "modal", point, attempt_id, "check"):
            await crash(product, what, service)
        product.providers.release()
        if what == "worker":
            await product.start("service")
        await product.start("consumers")
        await product.until(
            "select from public.voice_clone_attempts where id = %s and runtime_status = 'synced'", attempt_id
        )
    attempt = product.attempt(attempt_id)
    assert (attempt["status"], attempt["error_code"]) == ("ready", None)
    assert profiles(product, "modal") == before + 1
    assert attempt["process_count"] <= attempt["process_budget"]


@pytest.mark.usefixtures("short_times")
async def test_a_voice_that_is_made_too_late_is_removed(product: Product, prepared: bytes) -> None:
    before = profiles(product, "pipecat")
    await product.start("service", FINALIZE_WAIT_SECONDS="0", PROVIDER_CREATE_SECONDS="30", **SLOW)
    product.providers.fault("pipecat", "check", "hang")
    async with person(product) as ada:
        upload = await ada.upload(prepared, provider="pipecat")
        assert (await ada.finalize(upload)).status_code == 202
        await asyncio.to_thread(product.providers.wait, "pipecat", "check")
        await ada.client.service("DELETE", f"/v1/consents/{ada.consent}")
        product.providers.release()
        await until_status(product, upload["attempt_id"], "orphaned")
        assert profiles(product, "pipecat") == before + 1
        await product.start("consumers")
        await until_status(product, upload["attempt_id"], "removed")
    assert profiles(product, "pipecat") == before


async def test_a_voice_whose_sample_is_gone_is_silent_and_says_why(product: Product, prepared: bytes) -> None:
    await product.start("service")
    async with person(product) as ada:
        voices: list[dict[str, Any]] = []
        for provider in ("modal", "modal", "local"):
            upload = await ada.upload(prepared, reflection_id=None, provider=provider)
            voices.append((await ada.finalize(upload)).json())
        lost, kept, _ = voices
        assert (await speak(ada, lost["voice_id"])).status_code == 200
        spoken = len(product.providers.calls("modal", "speech"))
        sample = product.row(
            "select s.prepared_path from public.voice_samples s"
            " join public.voice_clone_attempts a on a.sample_id = s.id where a.id = %s",
            lost["attempt_id"],
        )
        await remove_sample(product, sample["prepared_path"])
        silent = await speak(ada, lost["voice_id"])
        body = silent.json()
        assert (silent.status_code, body["code"], body["reason"]) == (502, "inference_failed", "sample_gone")
        assert "Record a new sample" in body["detail"]
        assert len(product.providers.calls("modal", "speech")) == spoken, "the model was not called"
        assert (await speak(ada, kept["voice_id"])).status_code == 200


async def test_a_model_that_is_away_leaves_the_attempt_queued_and_makes_it_later(
    product: Product, prepared: bytes
) -> None:
    await product.start("service", FINALIZE_WAIT_SECONDS="5")
    before = profiles(product, "modal")
    product.providers.fault("modal", "check", "unavailable", retry_after=1)
    async with person(product) as ada:
        upload = await ada.upload(prepared, provider="modal")
        waiting = await ada.finalize(upload)
        assert waiting.status_code == 202
        assert product.attempt(upload["attempt_id"])["error_code"] == "provider_unavailable"
        assert profiles(product, "modal") == before
        await product.start("consumers")
        await product.until(
            "select from public.voice_clone_attempts where id = %s and status = 'ready'", upload["attempt_id"]
        )
    assert profiles(product, "modal") == before + 1
    await asyncio.to_thread(product.providers.wait, "modal", "check", count=2)


async def test_a_voice_whose_provider_is_not_configured_any_more_is_silent(
    product: Product, prepared: bytes
) -> None:
    service = await product.start("service")
    async with person(product) as ada:
        voices: dict[str, dict[str, Any]] = {}
        for provider in ("modal", "pipecat", "cartesia", "local"):
            upload = await ada.upload(prepared, reflection_id=None, provider=provider)
            voices[provider] = (await ada.finalize(upload)).json()
        await product.kill(service)
        await product.start("service", MODAL_URL="", MODAL_API_KEY="", CARTESIA_API_KEY="")
        spoken = {provider: await speak(ada, voice["voice_id"]) for provider, voice in voices.items()}
        for provider in ("modal", "cartesia"):
            assert problem(spoken[provider]) == (503, "provider_not_configured")
        assert [spoken[provider].status_code for provider in ("pipecat", "local")] == [200, 200]
