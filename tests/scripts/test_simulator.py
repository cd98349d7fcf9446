"""The provider simulator as its users see it: faults, waiting, releasing, remembering, formats."""

import asyncio
import base64
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from backend.providers.base import EnrollRequest, ErrorKind, ProviderError, SpeechRequest, new_label
from backend.providers.elevenlabs.adapter import ElevenLabs
from backend.providers.qwen.adapter import Qwen
from backend.providers.wav import pcm_wav, plain_wav
from backend.web.http_client import HttpClient
from scripts.local.simulator.audio import analyze
from scripts.migrations import ROOT
from tests.simulators import (
    ELEVENLABS_KEY,
    QWEN_KEY,
    BytesSample,
    Simulator,
    assert_is_speech,
    simulator,
    spoken_sample,
)

SIMULATOR = ROOT / "scripts" / "local" / "simulator"
SPEECH = {"model": "qwen3-tts-vc-2026-01-22", "input": {"text": "Hello there, how are you today?"}}


@pytest.fixture(scope="module")
def providers() -> Iterator[Simulator]:
    with simulator() as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client() -> AsyncIterator[HttpClient]:
    """What the adapters speak with."""
    async with HttpClient() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as opened:
        yield opened


@pytest.fixture
def elevenlabs(providers: Simulator, client: HttpClient) -> ElevenLabs:
    providers.reset()
    return ElevenLabs(providers.elevenlabs(), client)


def request(label: str) -> EnrollRequest:
    return EnrollRequest(
        label=label, name="Ada", language="en", transcript=None, sample=BytesSample(spoken_sample())
    )


async def in_thread(function: Any, *args: Any, **named: Any) -> Any:
    return await asyncio.to_thread(function, *args, **named)


def test_the_simulator_imports_nothing_of_the_product() -> None:
    """Its tables must not come from the product's, or a mistake would be in both."""
    names = [f"scripts.local.simulator.{module.stem}" for module in SIMULATOR.glob("*.py")]
    program = (
        "import sys, importlib\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(*[n for n in sys.modules if n.partition('.')[0] in ('backend', 'queue_consumers')])"
    )
    names = [name for name in names if not name.endswith("__main__")]
    result = subprocess.run(
        [sys.executable, "-c", program, *names], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []


async def test_a_hanging_call_is_seen_and_released(providers: Simulator, elevenlabs: ElevenLabs) -> None:
    label = new_label()
    providers.fault("elevenlabs", "create", "hang", match=label)
    enrolling = asyncio.create_task(elevenlabs.enroll(request(label)))
    assert await in_thread(providers.wait, "elevenlabs", "create", label=label) == 1
    assert providers.voices("elevenlabs") == []
    assert providers.state()["hanging"] == 1
    assert providers.release() == 1
    assert (await enrolling).provider_voice_id
    assert providers.state()["hanging"] == 0


async def test_a_call_that_hangs_after_its_commit_has_made_its_voice(
    providers: Simulator, elevenlabs: ElevenLabs
) -> None:
    label = new_label()
    providers.fault("elevenlabs", "create", "hang", after_commit=True)
    enrolling = asyncio.create_task(elevenlabs.enroll(request(label)))
    await in_thread(providers.wait, "elevenlabs", "create", phase="committed", label=label)
    assert len(providers.voices("elevenlabs", label)) == 1
    enrolling.cancel()
    await in_thread(providers.wait, "elevenlabs", "create", phase="finished", label=label)
    [call] = providers.calls("elevenlabs", "create")
    assert (call["committed"], call["outcome"], call["met"]) == (True, "client left", ["hang"])


async def test_a_wait_for_what_does_not_come_ends(providers: Simulator) -> None:
    with pytest.raises(TimeoutError, match="0 of 1 qwen create calls arrived"):
        await in_thread(providers.wait, "qwen", "create", label="nobody", timeout=0.1)


async def test_a_fault_meets_only_the_calls_it_was_meant_for(
    providers: Simulator, elevenlabs: ElevenLabs
) -> None:
    marked, other = new_label(), new_label()
    providers.fault("elevenlabs", "create", "throttled", times=2, match=marked)
    providers.fault("qwen", "create", "throttled")
    await elevenlabs.enroll(request(other))
    for _ in range(2):
        with pytest.raises(ProviderError, match=ErrorKind.THROTTLED):
            await elevenlabs.enroll(request(marked))
    await elevenlabs.enroll(request(marked))
    providers.clear_faults()
    providers.fault("elevenlabs", "create", "throttled", times=None, probability=0.0)
    await elevenlabs.enroll(request(new_label()))


async def test_latency_delays_the_commit(providers: Simulator, client: HttpClient) -> None:
    adapter, label = ElevenLabs(providers.elevenlabs(create_seconds=0.2), client), new_label()
    providers.fault("elevenlabs", "create", "latency", seconds=0.4)
    with pytest.raises(ProviderError, match=ErrorKind.UNKNOWN):
        await adapter.enroll(request(label))
    assert providers.voices("elevenlabs", label) == []
    await in_thread(providers.wait, "elevenlabs", "create", phase="committed", label=label)
    assert len(providers.voices("elevenlabs", label)) == 1


@pytest.mark.parametrize("body", [b"{}", b"not json", b'{"provider":"qwen","fault":"explode"}'])
async def test_a_fault_that_makes_no_sense_is_refused(
    providers: Simulator, http: httpx.AsyncClient, body: bytes
) -> None:
    assert (await http.post(f"{providers.url}/_control/faults", content=body)).status_code == 400


async def test_voices_outlive_a_killed_simulator(tmp_path: Path, client: HttpClient) -> None:
    kept, dropped = new_label(), new_label()
    with simulator("--state", str(tmp_path / "voices.jsonl")) as first:
        adapter = ElevenLabs(first.elevenlabs(), client)
        await adapter.enroll(request(kept))
        await adapter.delete((await adapter.enroll(request(dropped))).provider_voice_id)
        first.send_signal(signal.SIGKILL)
    with simulator("--state", str(tmp_path / "voices.jsonl")) as second:
        adapter = ElevenLabs(second.elevenlabs(), client)
        assert [voice.label async for voice in adapter.list()] == [kept]


async def test_an_instant_simulator_fetches_and_decodes_nothing(client: HttpClient) -> None:
    with simulator("--instant") as instant:
        qwen = Qwen(instant.qwen(), client)
        sample = BytesSample(b"not audio at all", "http://127.0.0.1:1/nowhere")
        enrolled = await qwen.enroll(
            EnrollRequest(label=new_label(), name="A", language="en", transcript=None, sample=sample)
        )
        said = SpeechRequest(
            provider_voice_id=enrolled.provider_voice_id,
            target_model=enrolled.target_model,
            text="Hi",
            language="en",
        )
        assert_is_speech(await qwen.synthesize(said))


async def test_slots_run_out(client: HttpClient) -> None:
    with simulator("--slots", "1") as small:
        for adapter in (
            ElevenLabs(small.elevenlabs(), client),
            Qwen(small.qwen(send_sample_as="data_url"), client),
        ):
            await adapter.enroll(request(new_label()))
            with pytest.raises(ProviderError, match=ErrorKind.FULL):
                await adapter.enroll(request(new_label()))


async def test_qwen_speech_comes_in_parts_as_events(
    providers: Simulator, client: HttpClient, http: httpx.AsyncClient
) -> None:
    qwen = Qwen(providers.qwen(send_sample_as="data_url"), client)
    voice = (await qwen.enroll(request(new_label()))).provider_voice_id
    answer = await http.post(
        f"{providers.url}/qwen/singapore/api/v1/services/aigc/multimodal-generation/generation",
        headers={"authorization": f"Bearer {QWEN_KEY}", "x-dashscope-sse": "enable"},
        json={**SPEECH, "input": {**SPEECH["input"], "voice": voice}},
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    parts = [
        msgspec.json.decode(line[5:])["output"] for line in answer.text.splitlines() if line[:5] == "data:"
    ]
    assert [part["finish_reason"] for part in parts] == ["null"] * (len(parts) - 1) + ["stop"]
    streamed = b"".join(base64.b64decode(part["audio"]["data"]) for part in parts)
    whole = await http.get(parts[-1]["audio"]["url"])
    assert plain_wav(whole.content) == pcm_wav(streamed, 24_000)
    unsigned = await http.get(parts[-1]["audio"]["url"].partition("?")[0])
    assert unsigned.status_code == 403


@pytest.mark.parametrize("wanted", ["mp3_44100_128", "opus_48000_64", "ulaw_8000", "pcm_16000", "wav_44100"])
async def test_elevenlabs_speaks_in_every_format(
    providers: Simulator, elevenlabs: ElevenLabs, http: httpx.AsyncClient, wanted: str
) -> None:
    voice = (await elevenlabs.enroll(request(new_label()))).provider_voice_id
    answers = [
        await http.post(
            f"{providers.url}/elevenlabs/v1/text-to-speech/{voice}{suffix}",
            params={"output_format": wanted},
            headers={"xi-api-key": ELEVENLABS_KEY},
            json={"text": "Hello there, how are you today?", "model_id": "eleven_multilingual_v2"},
        )
        for suffix in ("", "/stream")
    ]
    whole, streamed = answers
    assert (whole.status_code, whole.headers["character-cost"]) == (200, "31")
    assert len(streamed.content) == pytest.approx(len(whole.content), rel=0.05)
    if wanted[:3] not in ("pcm", "ula"):  # those have no header to recognise them by
        assert analyze(whole.content).seconds > 1
        assert analyze(streamed.content).seconds > 1


async def test_a_voice_speaks_at_the_pitch_of_its_sample(
    providers: Simulator, elevenlabs: ElevenLabs
) -> None:
    pitches = []
    for pitch in (100.0, 200.0):
        sample = BytesSample(spoken_sample(pitch=pitch))
        enrolled = await elevenlabs.enroll(
            EnrollRequest(label=new_label(), name="A", language="en", transcript=None, sample=sample)
        )
        said = SpeechRequest(
            provider_voice_id=enrolled.provider_voice_id,
            target_model=enrolled.target_model,
            text="I speak as high or as low as I did before.",
            language="en",
        )
        pitches.append(analyze(await elevenlabs.synthesize(said)).pitch)
    assert pitches[1] > 1.3 * pitches[0]
