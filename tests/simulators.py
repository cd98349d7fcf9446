"""The real provider simulator as a process on a free port, and a client for its control endpoint.

with simulator() as providers:
    providers.fault("qwen", "create", "hang", after_commit=True, match=label)
    …
    providers.wait("qwen", "create", phase="committed", label=label)
"""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from backend.providers.base import Sample
from backend.providers.cartesia.adapter import CartesiaConfig
from backend.providers.elevenlabs.adapter import ElevenLabsConfig
from backend.providers.qwen.adapter import QwenConfig
from backend.providers.reference.adapter import ReferenceConfig
from backend.providers.wav import pcm_wav
from scripts.local.simulator.http import Request, Response, Server
from scripts.local.simulator.speech import speak
from scripts.parent_death import die_with_parent

ROOT = Path(__file__).resolve().parent.parent
QWEN_KEY = "sk-sim-0123456789"
ELEVENLABS_KEY = "sim-0123456789"
CARTESIA_KEY = "sim-cartesia-0123456789"
MODAL_KEY = "sim-modal-0123456789"
SIGNED_TOKEN = "signed-and-secret"


class Simulator:
    """The addresses of the simulated providers, and the faults to inject."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self._process = process
        self._control = httpx.Client(base_url=f"{url}/_control", trust_env=False, timeout=30)

    def qwen(self, region: str = "singapore", **settings: Any) -> QwenConfig:
        given = {"api_key": QWEN_KEY, "base_url": f"{self.url}/qwen/{region}", "listing_lag_seconds": 0.0}
        return QwenConfig(**{"region": region, **given, **settings})

    def elevenlabs(self, **settings: Any) -> ElevenLabsConfig:
        given = {"api_key": ELEVENLABS_KEY, "base_url": f"{self.url}/elevenlabs", "listing_lag_seconds": 0.0}
        return ElevenLabsConfig(**{**given, **settings})

    def cartesia(self, **settings: Any) -> CartesiaConfig:
        given = {"api_key": CARTESIA_KEY, "base_url": f"{self.url}/cartesia", "listing_lag_seconds": 0.0}
        return CartesiaConfig(**{**given, **settings})

    def reference(self, name: str = "modal", **settings: Any) -> ReferenceConfig:
        given = {"name": name, "url": f"{self.url}/{name}", "api_key": MODAL_KEY if name == "modal" else ""}
        return ReferenceConfig(**{**given, **settings})

    def fault(self, provider: str, operation: str, fault: str, **how: Any) -> None:
        """A `scripts.local.simulator.faults.Fault`: times, match, after_commit, seconds, retry_after, …"""
        body = {"provider": provider, "operation": operation, "fault": fault, **how}
        self._control.post("/faults", json=body).raise_for_status()

    def clear_faults(self) -> None:
        self._control.delete("/faults").raise_for_status()

    def wait(
        self,
        provider: str,
        operation: str,
        *,
        count: int = 1,
        phase: str = "arrived",
        label: str | None = None,
        timeout: float = 10.0,
    ) -> int:
        """Wait until this many calls have arrived, committed or finished; else TimeoutError."""
        query = {"provider": provider, "operation": operation, "count": count, "phase": phase}
        query |= {"timeout": timeout} | ({"label": label} if label else {})
        answer = self._control.get("/wait", params=query, timeout=timeout + 10)
        if answer.status_code == 408:
            raise TimeoutError(f"{answer.json()['count']} of {count} {provider} {operation} calls {phase}")
        return answer.raise_for_status().json()["count"]

    def release(self) -> int:
        return self._control.post("/release").raise_for_status().json()["released"]

    def verify(self, voice_id: str, outcome: str = "verified") -> None:
        body = {"voice_id": voice_id, "outcome": outcome}
        self._control.post("/verification", json=body).raise_for_status()

    def delete_unused(self, since: float) -> list[str]:
        """As Qwen does after a year; the ids of the voices that it deleted."""
        answer = self._control.post("/unused", json={"since": since})
        return answer.raise_for_status().json()["deleted"]

    def send_recording(self, url: str, **callback: Any) -> dict[str, Any]:
        """A `scripts.local.simulator.twilio.Callback`: its recording's SID, and the status of each answer."""
        body = {"url": url, "media_url": f"{self.url}/twilio", **callback}
        answer = self._control.post("/twilio/callbacks", json=body)
        return answer.raise_for_status().json()

    def state(self) -> dict[str, Any]:
        return self._control.get("/state").raise_for_status().json()

    def voices(self, provider: str, label: str | None = None) -> list[dict[str, Any]]:
        return [v for v in self.state()["voices"][provider] if label is None or v["label"] == label]

    def calls(self, provider: str, operation: str, label: str | None = None) -> list[dict[str, Any]]:
        return [
            call
            for call in self.state()["calls"]
            if (call["provider"], call["operation"]) == (provider, operation)
            and (label is None or label in call["label"])
        ]

    def reset(self) -> None:
        self._control.post("/reset").raise_for_status()

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def close(self) -> None:
        self._control.close()


@contextmanager
def simulator(*options: str) -> Iterator[Simulator]:
    """`options` as on the command line, for instance `--instant` or `--state`, a file."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.local.simulator", "--port", "0", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent(),
    )
    assert process.stdout is not None
    with process, process.stdout as lines:
        try:
            started = Simulator(lines.readline().rsplit(" ", 1)[-1].strip(), process)
            yield started
            started.close()
        finally:
            process.terminate()


class BytesSample(Sample):
    """A sample held in memory; `url` is what a provider is given to fetch."""

    def __init__(
        self, data: bytes, url: str = "", content_type: str = "audio/wav", path: str = "sample.wav"
    ) -> None:
        self.data = data
        self.path = path
        self.url = url
        self.content_type = content_type
        self.size = len(data)
        self.signed = 0

    async def signed_url(self, seconds: int) -> str:
        self.signed += 1
        return self.url

    async def stream(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.data), 65_536):
            yield self.data[at : at + 65_536]


@cache
def spoken_sample(seconds: float = 10.0, rate: int = 24_000, pitch: float = 150.0) -> bytes:
    """A WAV of speech of this length."""
    text = "The quick brown fox jumps over the lazy dog, and then it quiesces for a while. " * 3
    pcm = speak(text, "en", pitch)
    return pcm_wav((pcm * (1 + int(seconds * 48_000) // len(pcm)))[: int(seconds * rate) * 2], rate)


class SampleHost:
    """Serves one sample at its signed URL, after a number of refusals."""

    def __init__(self, data: bytes, refusals: list[int]) -> None:
        self.sample = BytesSample(data)
        self.downloads = 0
        self._refusals = refusals

    async def handle(self, _: Request) -> Response:
        self.downloads += 1
        if self._refusals:
            return Response(status=self._refusals.pop(0))
        return Response(body=self.sample.data, headers={"content-type": "audio/wav"})


@asynccontextmanager
async def sample_host(data: bytes, *refusals: int) -> AsyncIterator[SampleHost]:
    """The first downloads are answered with these statuses, as an expired signed URL would be."""
    host = SampleHost(data, list(refusals))
    server = Server(host.handle)
    port = await server.start("127.0.0.1", 0)
    host.sample.url = f"http://127.0.0.1:{port}/sample.wav?token={SIGNED_TOKEN}"
    try:
        yield host
    finally:
        await server.close()


def assert_is_speech(audio: bytes) -> None:
    """A mono 16-bit WAV, longer than a second, not silent."""
    assert (audio[:4], audio[8:12]) == (b"RIFF", b"WAVE")
    assert int.from_bytes(audio[22:24], "little") == 1
    assert int.from_bytes(audio[34:36], "little") == 16
    rate = int.from_bytes(audio[24:28], "little")
    samples = np.frombuffer(audio[44:], dtype="<i2")
    assert len(samples) > rate
    assert np.sqrt((samples.astype(float) ** 2).mean()) > 300
