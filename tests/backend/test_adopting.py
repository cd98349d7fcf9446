"""A voice whose worker died is found by its label, or was reported; it is synced, or awaits verification."""

from contextlib import closing
from pathlib import Path

import pytest

from backend.providers.base import EnrollRequest
from backend.providers.elevenlabs.adapter import ElevenLabs
from backend.web.http_client import HttpClient
from tests.backend.conftest import INTERNAL_TOKEN, served
from tests.clusters import Database
from tests.fixture import Fixture
from tests.simulators import ELEVENLABS_KEY, BytesSample, simulator, spoken_sample


@pytest.mark.parametrize(("trouble", "runtime", "waits"), [("", "synced", 0), ("reset", "pending", 1)])
async def test_an_adopted_voice_has_the_model_it_is_spoken_with(
    database: Database, tmp_path: Path, trouble: str, runtime: str, waits: int
) -> None:
    with closing(Fixture(database)) as given, simulator() as providers:
        user = given.user()
        attempt = given.queued(user, given.reflection(user))
        given.superuser.execute(
            "update public.voice_clone_attempts set provider = 'elevenlabs' where id = %s", (attempt,)
        )
        given.intend(attempt, given.claim(attempt, lease=0)["lease_epoch"])
        label = given.truth("select label from voice_clone.enrollments")["label"]
        async with HttpClient() as client:
            request = EnrollRequest(
                label=label,
                name="Ada",
                language="en",
                transcript=None,
                sample=BytesSample(spoken_sample()),
            )
            lost = await ElevenLabs(providers.elevenlabs(), client).enroll(request)
        if trouble:  # at the runtime sync
            providers.fault("elevenlabs", "get", trouble)
        settings = {
            "ELEVENLABS_API_KEY": ELEVENLABS_KEY,
            "ELEVENLABS_BASE_URL": f"{providers.url}/elevenlabs",
        }
        async with served(tmp_path, given.database.service, **settings) as service:
            answer = await service.http.post(
                f"/internal/voice-clone-attempts/{attempt}/process",
                json={},
                headers={"authorization": f"Bearer {INTERNAL_TOKEN}"},
            )
        assert answer.status_code == 200, answer.text
        after = given.attempt(attempt)
        assert (after["status"], after["provider_voice_id"]) == ("ready", lost.provider_voice_id)
        assert after["target_model"] == lost.target_model
        assert (after["runtime_status"], after["lease_owner"]) == (runtime, None)
        sent = given.truth("select count(*) from pgmq.q_voice_runtime_sync")["count"]  # not all due yet
        assert sent == waits


@pytest.mark.parametrize("reported", [False, True])
async def test_an_adopted_voice_whose_speaker_is_not_verified_is_not_ready(
    database: Database, tmp_path: Path, reported: bool
) -> None:
    """The provider's list says so, or the report of the worker that lost its lease."""
    with closing(Fixture(database)) as given, simulator() as providers:
        user = given.user()
        attempt = given.queued(user, given.reflection(user))
        given.superuser.execute(
            "update public.voice_clone_attempts set provider = 'elevenlabs' where id = %s", (attempt,)
        )
        enrollment = given.intend(attempt, given.claim(attempt, lease=0)["lease_epoch"])
        label = given.truth("select label from voice_clone.enrollments")["label"]
        providers.fault("elevenlabs", "create", "verification_required")
        async with HttpClient() as client:
            sample = BytesSample(spoken_sample())
            request = EnrollRequest(label=label, name="Ada", language="en", transcript=None, sample=sample)
            lost = await ElevenLabs(providers.elevenlabs(), client).enroll(request)
        assert lost.requires_verification
        if reported:
            given.one(
                "select voice_clone.report_enrollment(%s, %s, 'm', true, 'r', null)",
                enrollment, lost.provider_voice_id,
            )  # fmt: skip
        settings = {
            "ELEVENLABS_API_KEY": ELEVENLABS_KEY,
            "ELEVENLABS_BASE_URL": f"{providers.url}/elevenlabs",
        }
        async with served(tmp_path, given.database.service, **settings) as service:
            await service.http.post(
                f"/internal/voice-clone-attempts/{attempt}/process",
                json={},
                headers={"authorization": f"Bearer {INTERNAL_TOKEN}"},
            )
        after = given.attempt(attempt)
        assert (after["status"], after["provider_voice_id"]) == ("verifying", lost.provider_voice_id)
        assert given.truth("select count(*) from public.voices")["count"] == 0
