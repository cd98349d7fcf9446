"""The main job as an application does it: over HTTP, signed in, with the publishable key only."""

import asyncio
import os
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx
import msgspec
from rich.console import Console
from rich.markup import escape

from scripts.local.supabase.stack import Stack
from scripts.migrations import ROOT

WAIT_SECONDS = 120
POLL_SECONDS = 0.05
TEXT = (
    "Hello. This is my new voice. It was made from a short recording, with my consent,"
    " and now it can speak any text."
)


class DemoError(Exception):
    """A step of the demo failed; the message names the step and the reason."""


class Result(msgspec.Struct, rename="camel"):
    """The demo's last line."""

    clone_status: str
    runtime_status: str
    preview_required: bool
    launchable: bool
    provider: str
    attempt_id: str
    voice_id: str
    sample: str
    speech: str
    seconds: float


class Client:
    """One user's HTTP: the Data API through the gateway, the service beside it."""

    def __init__(self, stack: Stack, http: httpx.AsyncClient) -> None:
        self._stack = stack
        self._http = http
        self.headers = {"apikey": stack.publishable_key}

    async def sign_up(self) -> None:
        body = {"email": f"demo-{uuid4().hex[:12]}@likeness.local", "password": uuid4().hex}
        answer = await self.gateway("POST", "/auth/v1/signup", json=body)
        self.headers["authorization"] = f"Bearer {answer.json()['access_token']}"

    async def gateway(self, method: str, path: str, **more: Any) -> httpx.Response:
        return await self._send(method, self._stack.supabase_url + path, **more)

    async def service(self, method: str, path: str, **more: Any) -> httpx.Response:
        return await self._send(method, self._stack.api_url + path, **more)

    async def _send(
        self, method: str, url: str, headers: dict[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        answer = await self._http.request(method, url, headers={**self.headers, **(headers or {})}, **more)
        if answer.is_error:
            address = url.partition("?")[0]
            raise DemoError(f"{method} {address} answered {answer.status_code}: {answer.text}")
        return answer


class Steps:
    """Prints each step with the time it took; on a terminal also the step that runs, until it is left."""

    def __init__(self, *, silent: bool = False) -> None:
        self._console = Console(highlight=False, soft_wrap=True, quiet=silent)
        self._status = self._console.status("")
        self.started = self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def doing(self, what: str) -> None:
        self._status.update(f"{escape(what)} …")
        if self._console.is_terminal:
            self._status.start()

    def done(self, what: str) -> None:
        now = time.monotonic()
        self._status.stop()
        self._console.print(f"[green]{now - self._last:7.2f} s[/]  {escape(what)}")
        self._last = now

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self.started, 2)


async def run_main_job(
    stack: Stack, provider: str, sample: Path, transcript: str | None, speech: Path
) -> Result:
    """Sample → consent → upload → finalize → mirror → preview → launch gate → session → speech.

    `sample` is a WAV file; the speech is written to `speech`. Raises DemoError.
    """
    with Steps() as steps:
        return await clone_and_speak(steps, stack, provider, sample, transcript, speech)


async def clone_and_speak(
    steps: Steps, stack: Stack, provider: str, sample: Path, transcript: str | None, speech: Path
) -> Result:
    steps.doing("Signing up")
    content = await asyncio.to_thread(sample.read_bytes)
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        client = Client(stack, http)
        await client.sign_up()
        reflection = await add_reflection(client)
        steps.done("signed up, a reflection made")
        steps.doing("Signing the consent")
        consent = (await client.service("POST", "/v1/consents", json={"version": 1})).json()
        steps.done(f"consent signed: {consent['statement']} v{consent['version']}, {consent['locale']}")
        steps.doing("Uploading the sample")
        upload = await upload_sample(client, content, consent["consent_id"], reflection, provider)
        steps.done(f"sample uploaded: {len(content)} bytes")
        body = {
            "voice_id": upload["voice_id"],
            "name": "My voice",
            "language": "en",
            "transcript": transcript,
        }
        steps.doing("Checking and cleaning the sample, and making the voice")
        answer = await client.service("POST", "/api/clone/finalize", json=body)
        steps.done(f"finalized: HTTP {answer.status_code}")
        shown = await launch(client, http, reflection, steps)
        session = (await client.service("POST", f"/v1/reflections/{reflection}/sessions")).json()
        steps.done(f"session {session['session_id']} started")
        body = {"voice_id": upload["voice_id"], "text": TEXT}
        steps.doing("Speaking")
        answer = await client.service("POST", "/api/generate", json=body)
        await asyncio.to_thread(speech.write_bytes, answer.content)
        steps.done(f"speech written: {speech_seconds(speech):.1f} s")
        if stack.provider_is_real:
            await leave_nothing(client, steps)
    return result(shown, sample, speech, steps.seconds)


async def launch(client: Client, http: httpx.AsyncClient, reflection: str, steps: Steps) -> dict[str, Any]:
    """Wait for the preview, hear it, and see the gate open; the reflection's voice as it is then."""
    path = f"/v1/reflections/{reflection}/voice"
    steps.doing("Waiting for the mirror and the preview")
    shown = await until(client, path, lambda shown: shown["voice"].get("previewStatus") == "rendered")
    steps.done("mirrored, synced to the runtime, preview rendered")
    clip = await http.get(shown["preview_url"])
    if clip.is_error:
        raise DemoError(f"The preview cannot be fetched: {clip.status_code} {clip.text}")
    await client.service("POST", f"{path}/preview/complete")
    steps.done(f"preview heard: {len(clip.content)} bytes")
    shown = await until(
        client,
        path,
        lambda shown: shown["gate"]["launchable"] and shown["voice"].get("previewRequired") is False,
    )
    steps.done("launch gate open")
    return shown


async def leave_nothing(client: Client, steps: Steps) -> None:
    """Erase the demo's user, so that no voice of the demo keeps a slot of the account."""
    steps.doing("Removing the voice at the provider")
    receipt = (await client.service("DELETE", "/v1/me")).json()["erasure"]
    deadline = time.monotonic() + WAIT_SECONDS
    while any(each["place"] == "provider" and not each["confirmed_at"] for each in receipt["places"]):
        if time.monotonic() > deadline:
            raise DemoError(f"The voice is still at the provider after {WAIT_SECONDS} s: {receipt}")
        await asyncio.sleep(POLL_SECONDS)
        answer = await client.service("GET", f"/v1/me/erasures/{receipt['erasure_id']}")
        receipt = answer.json()["erasure"]
    steps.done("voice removed at the provider")


def result(shown: dict[str, Any], sample: Path, speech: Path, seconds: float) -> Result:
    mirror = shown["voice"]
    return Result(
        clone_status=mirror["cloneStatus"],
        runtime_status=mirror["runtimeStatus"],
        preview_required=mirror["previewRequired"],
        launchable=shown["gate"]["launchable"],
        provider=mirror["provider"],
        attempt_id=mirror["attemptId"],
        voice_id=mirror["voiceId"],
        sample=shown_path(sample),
        speech=shown_path(speech),
        seconds=seconds,
    )


async def add_reflection(client: Client) -> str:
    """Through the Data API, as the application's own table."""
    answer = await client.gateway(
        "POST", "/rest/v1/reflections", json={"name": "Ada"}, headers={"prefer": "return=representation"}
    )
    return answer.json()[0]["id"]


async def upload_sample(
    client: Client, content: bytes, consent: str, reflection: str | None, provider: str
) -> dict[str, Any]:
    body = {
        "consent_id": consent,
        "content_type": "audio/wav",
        "bytes": len(content),
        "reflection_id": reflection,
        "provider": provider,
    }
    upload = (await client.service("POST", "/api/clone/upload-url", json=body)).json()
    path = "/storage/v1" + upload["upload_url"].partition("/storage/v1")[2]
    await client.gateway("PUT", path, content=content, headers={"content-type": "audio/wav"})
    return upload


async def until(client: Client, path: str, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Poll the reflection's voice until `good` accepts it. Raises DemoError when a step failed."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        shown = (await client.service("GET", path)).json()
        voice = shown["voice"]
        if good(shown):
            return shown
        if "failed" in {voice.get("cloneStatus"), voice.get("runtimeStatus"), voice.get("previewStatus")}:
            raise DemoError(f"The clone failed: {voice['error']}")
        if time.monotonic() > deadline:
            raise DemoError(f"No progress within {WAIT_SECONDS} s. The mirror: {voice}")
        await asyncio.sleep(POLL_SECONDS)


def speech_seconds(path: Path) -> float:
    with wave.open(str(path)) as file:
        return file.getnframes() / file.getframerate()


def shown_path(path: Path) -> str:
    """Relative to the project's root."""
    return os.path.relpath(path.resolve(), ROOT)
