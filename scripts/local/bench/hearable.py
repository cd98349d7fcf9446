"""From the first byte of a sample to the last byte of a speech in its voice, beside the inspection alone."""

import asyncio
import time
from pathlib import Path

import httpx

from backend.audio.inspect import AudioInspector
from scripts.local.bench.figures import ROUNDS, Figure, at_most, middle
from scripts.local.bench.seed import Bench
from scripts.local.main_job import TEXT, Steps
from scripts.local.speech_flow import Flow

PROVIDER = "elevenlabs"  # the simulated one, which answers at once
MOST_SECONDS = 30


async def hearable(bench: Bench) -> list[Figure]:
    """Sample, inspection, voice, speech, and the polls between them, one after the other."""
    sample = bench.stack.directory / "sample.wav"
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        flow = Flow(bench.stack, http, PROVIDER, Steps(silent=True))
        await flow.sign_up()
        await until_hearable(flow, sample)  # starts a worker
        values = [await until_hearable(flow, sample) for _ in range(ROUNDS)]
    floor = await inspection_seconds(sample)
    return [at_most("upload to hearable, instant provider", middle(values), "s", MOST_SECONDS, floor)]


async def until_hearable(flow: Flow, sample: Path) -> float:
    content = await asyncio.to_thread(sample.read_bytes)
    began = time.monotonic()
    sample_id = await flow.add_sample(content, None)
    await flow.inspected(sample_id, "ready")
    job_id = await flow.add_job(sample_id, TEXT)
    await flow.ended(job_id, "succeeded")
    await flow.download(job_id, sample.with_name("speech.wav"))
    return time.monotonic() - began


async def inspection_seconds(sample: Path) -> float:
    inspector = AudioInspector(workers=1)
    taken = []
    try:
        for _ in range(ROUNDS + 1):
            began = time.monotonic()
            await inspector.inspect(sample, prepared=sample.with_name("prepared.wav"))
            taken.append(time.monotonic() - began)
    finally:
        await inspector.aclose()
    return middle(taken[1:])
