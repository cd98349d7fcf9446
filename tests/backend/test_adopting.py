"""A voice whose worker died is found by its label, can speak, and is synced at once."""

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
