"""A runtime sync by the service: a voice that is not listed yet is not reported as gone; a deleted one is."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from backend.settings.qwen import QwenConfig
from tests.backend.conftest import INTERNAL_TOKEN, Served, served
from tests.fixture import Fixture
from tests.simulators import QWEN_KEY, Simulator


@pytest.fixture
async def service(given: Fixture, providers: Simulator, tmp_path: Path) -> AsyncIterator[Served]:
    settings = {
        "QWEN_API_KEY": QWEN_KEY,
        "QWEN_REGION": "singapore",
        "QWEN_BASE_URL": f"{providers.url}/qwen/singapore",
    }
    async with served(tmp_path, given.database.service, **settings) as running:
        yield running


def enrolled(given: Fixture) -> UUID:
    """A voice id that Qwen does not list."""
    user = given.user()
    attempt = given.queued(user, given.reflection(user))
    given.superuser.execute(
        "update public.voice_clone_attempts set provider = 'qwen' where id = %s", (attempt,)
    )
    given.enroll(attempt)
    return attempt


async def sync(service: Served, attempt: UUID) -> None:
    answer = await service.http.post(
        f"/internal/voice-clone-attempts/{attempt}/runtime-sync",
        json={},
        headers={"authorization": f"Bearer {INTERNAL_TOKEN}"},
    )
    assert answer.status_code == 200, answer.text


async def test_a_voice_too_young_to_be_listed_is_asked_for_again(given: Fixture, service: Served) -> None:
    attempt = enrolled(given)
    await sync(service, attempt)
    after = given.attempt(attempt)
    assert (after["runtime_status"], after["error_code"]) == ("pending", "voice_unlisted")
    lag = QwenConfig(api_key=QWEN_KEY, region="singapore").listing_lag_seconds
    assert 0 < (after["not_before"] - after["ready_at"]).total_seconds() <= lag + 1


async def test_a_voice_that_is_not_listed_after_the_lag_is_gone(given: Fixture, service: Served) -> None:
    attempt = enrolled(given)
    given.superuser.execute(
        "update public.voice_clone_attempts set ready_at = ready_at - interval '1 hour' where id = %s",
        (attempt,),
    )
    await sync(service, attempt)
    after = given.attempt(attempt)
    assert (after["runtime_status"], after["error_code"]) == ("failed", "voice_missing")
