"""What `likeness demo --flow speech` runs, with each provider: the API alone, from a sample to a speech."""

import asyncio
from pathlib import Path

import pytest

from scripts.local.main_job import speech_seconds
from scripts.local.speech_flow import run_speech_flow
from tests.end_to_end.conftest import Product

OTHERS = ("local", "qwen", "cartesia", "pipecat", "modal")


@pytest.mark.parametrize(
    "provider", ["elevenlabs", *(pytest.param(each, marks=pytest.mark.long) for each in OTHERS)]
)
async def test_a_sample_is_heard_and_each_failure_says_what_it_is(
    product: Product, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], provider: str
) -> None:
    await product.start("service", VOICE_PROVIDER=provider)
    await product.start("consumers")
    speech = tmp_path / "speech.wav"
    result = await run_speech_flow(product.stack, provider, sample, None, speech)
    assert (result.sample_status, result.job_status, result.provider) == ("ready", "succeeded", provider)
    assert await asyncio.to_thread(speech_seconds, speech) > 1
    printed = capsys.readouterr().out
    for words in (
        "sample too short: 1.8 s, at least 3 s",
        "Postgres stopped: 503 database_unavailable, Retry-After: ",
        "the job that was interrupted succeeded",
    ):
        assert words in printed
    if provider != "local":
        assert "inference_failed: The voice provider refused the request." in printed
