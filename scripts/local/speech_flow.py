"""A recording and a sentence in, a speech out, over the API alone; and what a user reads when it fails."""

import asyncio
import io
import time
import wave
from pathlib import Path
from typing import Any

import httpx
import msgspec

from scripts.local.main_job import (
    POLL_SECONDS,
    TEXT,
    WAIT_SECONDS,
    Client,
    DemoError,
    Steps,
    leave_nothing,
    shown_path,
    speech_seconds,
)
from scripts.local.supabase.stack import Stack

SAMPLES, JOBS = "/api/v1/voice-samples", "/api/v1/clone"
SHORT_SECONDS = 1.8
REFUSED_TEXT = "This sentence is refused once."
RETRY_AFTER_MOST = 10


class SpeechResult(msgspec.Struct, rename="camel"):
    """The flow's last line."""

    sample_status: str
    job_status: str
    provider: str
    sample_id: str
    job_id: str
    sample: str
    speech: str
    seconds_to_hearable: float  # from the first byte of the sample to the last of the speech
    seconds: float


async def run_speech_flow(
    stack: Stack, provider: str, sample: Path, transcript: str | None, speech: Path
) -> SpeechResult:
    """Sample → status → report → speech job → status → result → download; then each failure with its words.

    `sample` is a WAV file; the speech is written to `speech`. Stops Postgres once. Raises DemoError.
    """
    with Steps() as steps:
        return await speak_and_fail(steps, stack, provider, sample, transcript, speech)


async def speak_and_fail(
    steps: Steps, stack: Stack, provider: str, sample: Path, transcript: str | None, speech: Path
) -> SpeechResult:
    steps.doing("Signing up")
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        flow = Flow(stack, http, provider, steps)
        await flow.sign_up()
        content = await asyncio.to_thread(sample.read_bytes)
        began = time.monotonic()
        sample_id = await flow.add_sample(content, transcript)
        steps.doing("Checking and cleaning it")
        ready = await flow.inspected(sample_id, "ready")
        steps.done(f"sample ready: {told(ready)}")
        await flow.report(sample_id)
        job_id = await flow.add_job(sample_id, TEXT)
        steps.doing("Making the voice and speaking")
        job = await flow.ended(job_id, "succeeded")
        steps.done("voice made and text spoken")
        await flow.download(job_id, speech)
        hearable = time.monotonic() - began
        steps.done(
            f"speech fetched: {speech_seconds(speech):.1f} s; hearable {hearable:.1f} s after the upload"
        )
        await flow.short_sample(content)
        if provider != "local" and not stack.provider_is_real:
            await flow.refused_speech(sample_id)
        await flow.database_away(sample_id)
        if stack.provider_is_real:
            await leave_nothing(flow.client, steps)
    return SpeechResult(
        sample_status=ready["status"],
        job_status=job["status"],
        provider=job["provider"],
        sample_id=sample_id,
        job_id=job_id,
        sample=shown_path(sample),
        speech=shown_path(speech),
        seconds_to_hearable=round(hearable, 2),
        seconds=steps.seconds,
    )


class Flow:
    """One user of the API."""

    def __init__(self, stack: Stack, http: httpx.AsyncClient, provider: str, steps: Steps) -> None:
        self.stack = stack
        self.http = http
        self.provider = provider
        self.steps = steps
        self.client = Client(stack, http)
        self.consent = ""

    async def sign_up(self) -> None:
        await self.client.sign_up()
        consent = (await self.client.service("POST", "/v1/consents", json={"version": 1})).json()
        self.consent = consent["consent_id"]
        self.steps.done(f"signed up; consent signed: {consent['statement']} v{consent['version']}")

    async def add_sample(self, content: bytes, transcript: str | None) -> str:
        fields = {"consentId": self.consent, "language": "en", "name": "My voice"}
        fields |= {"transcript": transcript} if transcript else {}
        files = {"file": ("sample.wav", content, "audio/wav")}
        answer = await self.client.service("POST", SAMPLES, data=fields, files=files)
        self.steps.done(f"sample sent: {len(content)} bytes")
        return answer.json()["sampleId"]

    async def inspected(self, sample_id: str, status: str) -> dict[str, Any]:
        return await self._until(f"{SAMPLES}/{sample_id}/status", status)

    async def report(self, sample_id: str) -> None:
        report = (await self.client.service("GET", f"{SAMPLES}/{sample_id}/report")).json()
        fits = [each["provider"] for each in report["providers"] if each["fits"]]
        if self.provider not in fits:
            raise DemoError(f"{self.provider} does not take this sample; these do: {', '.join(fits)}")
        self.steps.done(f"report: it fits {', '.join(fits)}")

    async def add_job(self, sample_id: str, text: str) -> str:
        body = {"sampleId": sample_id, "text": text, "provider": self.provider}
        return (await self.client.service("POST", JOBS, json=body)).json()["jobId"]

    async def ended(self, job_id: str, status: str) -> dict[str, Any]:
        return await self._until(f"{JOBS}/{job_id}/status", status)

    async def download(self, job_id: str, speech: Path) -> None:
        result = (await self.client.service("GET", f"{JOBS}/{job_id}/result")).json()
        audio = await self.http.get(result["audioUrl"])
        if audio.is_error:
            raise DemoError(f"The speech cannot be fetched: {audio.status_code} {audio.text}")
        await asyncio.to_thread(speech.write_bytes, audio.content)

    async def short_sample(self, content: bytes) -> None:
        """The beginning of the same recording: too short, and the answer says by how much."""
        self.steps.doing("Sending a sample that is too short")
        cut = await asyncio.to_thread(beginning, content, SHORT_SECONDS)
        sample_id = await self.add_sample(cut, None)
        failed = await self.inspected(sample_id, "failed")
        self.steps.done(f"{SHORT_SECONDS} s of it: {failed['reason']['code']}: {failed['reason']['message']}")

    async def refused_speech(self, sample_id: str) -> None:
        """The simulated provider refuses one call; a retry by the user speaks."""
        fault = {"provider": self.provider, "operation": "speech", "fault": "error", "status": 400}
        answer = await self.http.post(
            f"{self.stack.simulator_url}/_control/faults", json={**fault, "code": "odd"}
        )
        if answer.is_error:
            raise DemoError(f"The simulator injects no fault: {answer.text}")
        self.steps.doing("Speaking a text that the provider refuses")
        job_id = await self.add_job(sample_id, REFUSED_TEXT)
        error = (await self.ended(job_id, "failed"))["error"]
        said = f"{error['code']}: {error['message']} (provider's request {error['providerRequestId']})"
        self.steps.done(f"the provider refuses a text: {said}")
        await self.client.service("POST", f"{JOBS}/{job_id}/retry")
        await self.ended(job_id, "succeeded")
        self.steps.done("retried: succeeded")

    async def database_away(self, sample_id: str) -> None:
        """Postgres stops in the middle of a job: 503 meanwhile, and the job ends once it is back."""
        job_id = await self.add_job(sample_id, TEXT)
        cluster, port = self.stack.cluster, self.stack.cluster.port
        self.steps.doing("Stopping Postgres in the middle of a job")
        await asyncio.to_thread(cluster.stop, immediately=True)
        try:
            path = f"{self.stack.api_url}{JOBS}/{job_id}/status"
            refused = await self.http.get(path, headers=self.client.headers)
            wait = refused.headers.get("retry-after", "")
            if refused.status_code != 503 or not wait.isdigit():
                raise DemoError(
                    f"Postgres is stopped, and the answer is {refused.status_code}: {refused.text}"
                )
            said = f"503 {refused.json()['code']}, Retry-After: {wait}"
            self.steps.done(f"Postgres stopped: {said}")
        finally:
            await asyncio.to_thread(cluster.start, port=port)
        await self.ended(job_id, "succeeded")
        self.steps.done("Postgres started: the job that was interrupted succeeded")

    async def _until(self, path: str, status: str) -> dict[str, Any]:
        """Polls. While the database is away the service answers 503, which says when to ask again."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            answer = await self.http.get(f"{self.stack.api_url}{path}", headers=self.client.headers)
            if answer.status_code == 503:
                await asyncio.sleep(min(int(answer.headers["retry-after"]), RETRY_AFTER_MOST))
                continue
            shown = answer.json()
            if answer.is_error or shown["status"] in {"failed", "succeeded", "ready"} - {status}:
                raise DemoError(f"{path} answered {answer.status_code}: {answer.text}")
            if shown["status"] == status:
                return shown
            if time.monotonic() > deadline:
                raise DemoError(f"{path} is still {shown['status']!r} after {WAIT_SECONDS} s")
            await asyncio.sleep(POLL_SECONDS)


def told(sample: dict[str, Any]) -> str:
    """What was measured, and each warning."""
    measures = sample["measures"]
    said = [f"{measures['seconds']:.1f} s of audio", f"{measures['voiced_seconds']:.1f} s of speech"]
    said += [warning["message"] for warning in sample["warnings"]]
    return "; ".join(said)


def beginning(content: bytes, seconds: float) -> bytes:
    """The first seconds of a WAV file."""
    written = io.BytesIO()
    with wave.open(io.BytesIO(content)) as source, wave.open(written, "wb") as target:
        target.setparams(source.getparams())
        target.writeframes(source.readframes(round(seconds * source.getframerate())))
    return written.getvalue()
