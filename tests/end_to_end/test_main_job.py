"""From a sample to a launchable reflection, with each provider."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.local.main_job import run_main_job
from tests.end_to_end.conftest import PATIENT, Product, person


@pytest.mark.parametrize(
    "provider",
    ["local", "qwen", "elevenlabs", "cartesia", "pipecat", pytest.param("modal", marks=pytest.mark.long)],
)
async def test_a_sample_becomes_a_voice_that_may_be_launched(
    product: Product, sample: Path, tmp_path: Path, provider: str
) -> None:
    await product.start("service", LEASE_SECONDS="30")
    await product.start("consumers")
    speech = tmp_path / "speech.wav"
    result = await run_main_job(product.stack, provider, sample, None, speech)
    assert (result.clone_status, result.runtime_status) == ("ready", "synced")
    assert (result.preview_required, result.launchable, result.provider) == (False, True, provider)
    with wave.open(str(speech)) as file:
        assert (file.getsampwidth(), file.getnchannels()) == (2, 1)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
        assert len(samples) > file.getframerate(), "longer than a second"
    assert np.sqrt(np.mean(samples**2)) > 300, "not silent"


QWEN_MODEL, ELEVENLABS_MODEL = "qwen3-tts-vc-2026-01-22", "eleven_multilingual_v2"


@pytest.mark.parametrize(
    ("provider", "kind", "model", "metadata"),
    [
        ("qwen", "vc", QWEN_MODEL, {"usage": {"count": 1}, "fallback_mode": False}),
        ("elevenlabs", "ivc", ELEVENLABS_MODEL, {"requires_verification": False}),
        ("cartesia", "instant", "sonic-3.5", {"access": "private"}),
        ("pipecat", "reference", "reference-1", {}),
        ("modal", "reference", "reference-1", {}),
        ("local", "match", "local-acoustic-match-1", None),
    ],
)
async def test_a_voice_says_what_its_provider_said_of_it(
    product: Product, prepared: bytes, provider: str, kind: str, model: str, metadata: dict[str, Any] | None
) -> None:
    await product.start("service")
    async with person(product) as ada:
        upload = await ada.upload(prepared, provider=provider)
        voice = (await ada.finalize(upload)).json()["voice"]
        assert voice == (await ada.client.service("GET", f"/api/voices/{upload['voice_id']}")).json()
        assert (await ada.client.service("GET", "/api/voices")).json() == [voice]
    attempt = product.attempt(upload["attempt_id"])
    told = {name: voice[name] for name in voice if name.startswith(("tts_", "provider_"))}
    measured = told.pop("provider_metadata")
    assert told == {
        "tts_provider": provider,
        "provider_voice_id": attempt["provider_voice_id"],
        "provider_target_model": model,
        "provider_voice_kind": kind,
        "provider_region": attempt["region"],
        "provider_request_id": attempt["request_id"],
    }
    assert (attempt["request_id"] is None) == (provider not in ("qwen", "elevenlabs"))
    if metadata is None:
        assert measured["measures"]["pitch_hz"] > 50
    else:
        assert measured == metadata


async def test_201_and_202_have_one_shape(product: Product, prepared: bytes) -> None:
    await product.start("service", FINALIZE_WAIT_SECONDS="0.1", **PATIENT)
    async with person(product) as ada:
        ready = await ada.finalize(await ada.upload(prepared, provider="local", reflection_id=None))
        product.providers.fault("qwen", "create", "hang", after_commit=True)
        waiting = await ada.finalize(await ada.upload(prepared, provider="qwen", reflection_id=None))
        product.providers.release()
        while ready.status_code == 202:  # the wait was too short for this machine
            ready = await ada.finalize(ready.json())
    assert (ready.status_code, waiting.status_code) == (201, 202)
    assert set(ready.json()) == set(waiting.json())
    assert ready.json()["voice"]["voice_id"] == ready.json()["voice_id"]
    assert waiting.json()["voice"] is None


async def test_finalize_again_gives_the_same_answer(product: Product, prepared: bytes) -> None:
    await product.start("service")
    async with person(product) as ada:
        upload = await ada.upload(prepared)
        first = await ada.finalize(upload)
        again = await ada.finalize(upload)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert product.attempt(upload["attempt_id"])["process_count"] == 1


async def test_a_late_completion_changes_nothing_and_is_listed_as_an_orphan(
    product: Product, prepared: bytes
) -> None:
    await product.start("service", FINALIZE_WAIT_SECONDS="0.1", **PATIENT)
    product.providers.fault("qwen", "create", "hang", after_commit=True)
    async with person(product) as ada:
        late = await ada.upload(prepared, provider="qwen")
        assert (await ada.finalize(late)).status_code == 202
        product.providers.wait("qwen", "create", phase="committed")
        newer = await ada.upload(prepared, provider="local")
        await ada.finalize(newer)
        await product.until(
            "select from public.voice_clone_attempts where id = %s and runtime_status = 'synced'",
            newer["attempt_id"],
        )
        seen = product.attempt(newer["attempt_id"])
        product.providers.release()
        orphan = await product.until(
            "select * from operations.orphans() where attempt_id = %s", late["attempt_id"]
        )
    assert orphan["provider_voice_id"] == product.providers.voices("qwen")[0]["voice_id"]
    assert product.attempt(newer["attempt_id"]) == seen
    assert product.attempt(late["attempt_id"])["status"] == "cancelled"
