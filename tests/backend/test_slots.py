"""The slots of a provider before an upload, and the response when none is free."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import jwt
import msgspec
import pytest

from backend.providers.base import EnrollRequest, new_label
from backend.providers.elevenlabs.adapter import ElevenLabs
from backend.web.http_client import HttpClient
from tests.backend.conftest import Served, served
from tests.backend.storages import JWT_SECRET, failing_storage, saying
from tests.fixture import Fixture
from tests.queue_consumers.conftest import until
from tests.simulators import (
    ELEVENLABS_KEY,
    QWEN_KEY,
    BytesSample,
    Simulator,
    simulator,
    spoken_sample,
)

TOKEN = jwt.encode({"url": "elsewhere", "exp": 4_000_000_000}, JWT_SECRET, "HS256")
SIGNED = msgspec.json.encode({"url": f"/object/upload/sign/x?token={TOKEN}", "token": TOKEN})


@pytest.fixture(scope="module")
def small_accounts() -> Iterator[Simulator]:
    with simulator("--slots", "2") as started:
        yield started


@pytest.fixture
def providers(small_accounts: Simulator) -> Simulator:
    small_accounts.reset()
    return small_accounts


class Project:
    """The running service, and a user who opens uploads."""

    def __init__(self, given: Fixture, service: Served, url: str) -> None:
        self.given = given
        self.service = service
        self.user = given.user()
        now = int(time.time())
        claims = {"iss": f"{url}/auth/v1", "aud": "authenticated", "role": "authenticated"}
        own = {**claims, "sub": str(self.user), "iat": now, "exp": now + 600}
        self._headers = {"authorization": f"Bearer {jwt.encode(own, JWT_SECRET, 'HS256')}"}
        self._consent = given.consent(self.user)

    async def open(self, provider: str) -> httpx.Response:
        body = {"consent_id": str(self._consent), "content_type": "audio/wav", "bytes": 1000}
        return await self.service.http.post(
            "/api/clone/upload-url", json={**body, "provider": provider}, headers=self._headers
        )


@asynccontextmanager
async def project(
    given: Fixture, providers: Simulator, logs: Path, **settings: str
) -> AsyncIterator[Project]:
    known = {
        "SUPABASE_JWT_SECRET": JWT_SECRET,
        "ELEVENLABS_API_KEY": ELEVENLABS_KEY,
        "ELEVENLABS_BASE_URL": f"{providers.url}/elevenlabs",
        "QWEN_API_KEY": QWEN_KEY,
        "QWEN_REGION": "singapore",
        "QWEN_BASE_URL": f"{providers.url}/qwen/singapore",
    }
    async with (
        failing_storage(saying(200, SIGNED)) as url,
        served(logs, given.database.service, url, **{**known, **settings}) as running,
    ):
        yield Project(given, running, url)


def slots(given: Fixture) -> dict[str, int]:
    rows = given.superuser.execute("select provider || region as name, slots from voice_clone.slots")
    return {row["name"]: row["slots"] for row in rows}


async def make_voice(providers: Simulator) -> str:
    """Create a voice in the account, without an enrollment of ours."""
    async with HttpClient() as http:
        adapter = ElevenLabs(providers.elevenlabs(), http)
        sample = BytesSample(spoken_sample(4.0))
        request = EnrollRequest(label=new_label(), name="Eve", language="en", transcript=None, sample=sample)
        return (await adapter.enroll(request)).provider_voice_id


def own(given: Fixture, voice: str) -> UUID:
    """The same voice, with an enrollment of ours."""
    attempt = given.queued(given.user(), None)
    epoch = given.claim(attempt)["lease_epoch"]
    enrollment = given.intend(attempt, epoch)
    given.superuser.execute("update voice_clone.enrollments set provider = 'elevenlabs'")
    given.one(
        "select voice_clone.report_enrollment(%s, %s, 'm', false, 'r', null) as status", enrollment, voice
    )
    return enrollment


async def test_a_full_provider_is_said_before_the_upload_with_what_frees_a_place(
    given: Fixture, providers: Simulator, tmp_path: Path
) -> None:
    async with project(given, providers, tmp_path) as ours:
        await until(lambda: slots(given) == {"elevenlabs": 2, "qwensingapore": 1000})
        assert [(await ours.open("elevenlabs")).status_code for _ in range(2)] == [201, 201]
        refused = await ours.open("elevenlabs")
        assert (await ours.open("local")).status_code == 201
    body: dict[str, Any] = refused.json()
    assert (refused.status_code, body["code"], body["field"]) == (409, "provider_full", "provider")
    assert (body["provider"], body["limit"], body["alternatives"]) == ("elevenlabs", 2, ["local", "qwen"])
    assert body["free_at"]
    assert "expires unused" in body["help"]
    assert "qwen" in body["help"]
    assert providers.calls("elevenlabs", "create") == []


async def test_voices_that_others_keep_in_the_account_take_slots(
    given: Fixture, providers: Simulator, tmp_path: Path
) -> None:
    own(given, await make_voice(providers))
    await make_voice(providers)
    async with project(given, providers, tmp_path) as ours:
        await until(lambda: "elevenlabs" in slots(given))
        assert slots(given)["elevenlabs"] == 1, "of two, one is another's; the one of ours takes the last"
        assert (await ours.open("elevenlabs")).status_code == 409


async def test_a_setting_comes_before_what_the_account_says(
    given: Fixture, providers: Simulator, tmp_path: Path
) -> None:
    given.one("select voice_clone.set_slots('qwen', 'singapore', 3)")
    async with project(given, providers, tmp_path, ELEVENLABS_VOICE_SLOTS="7", QWEN_VOICE_SLOTS="0"):
        await until(lambda: slots(given) == {"elevenlabs": 7})
    assert providers.calls("elevenlabs", "subscription") == []


async def test_a_provider_that_does_not_answer_leaves_what_was_known(
    given: Fixture, providers: Simulator, tmp_path: Path
) -> None:
    given.one("select voice_clone.set_slots('elevenlabs', '', 1)")
    providers.fault("elevenlabs", "subscription", "unavailable", times=None)
    async with project(given, providers, tmp_path) as ours:
        await until(lambda: "slots_unknown" in ours.service.child.output())
        assert [(await ours.open("elevenlabs")).status_code for _ in range(2)] == [201, 409]
    providers.clear_faults()
