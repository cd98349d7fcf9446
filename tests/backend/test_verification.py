"""The routes of a verification, on the real service, database and simulated provider."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from backend.providers.base import EnrollRequest, new_label
from backend.providers.elevenlabs.adapter import ElevenLabs
from backend.web.http_client import HttpClient
from tests.backend.conftest import INTERNAL_TOKEN, Served, served
from tests.database.test_verification import await_verification
from tests.fixture import Fixture
from tests.simulators import ELEVENLABS_KEY, BytesSample, Simulator, spoken_sample

QUEUE = "voice_clone_verify"
AUTHORIZED = {"authorization": f"Bearer {INTERNAL_TOKEN}"}


@pytest.fixture
async def service(given: Fixture, providers: Simulator, tmp_path: Path) -> AsyncIterator[Served]:
    settings = {
        "ELEVENLABS_API_KEY": ELEVENLABS_KEY,
        "ELEVENLABS_BASE_URL": f"{providers.url}/elevenlabs",
    }
    async with served(tmp_path, given.database.service, **settings) as running:
        yield running


async def verifying(given: Fixture, providers: Simulator, **fault: Any) -> UUID:
    """An attempt whose voice is at ElevenLabs and awaits verification."""
    providers.fault("elevenlabs", "create", "verification_required", **fault)
    async with HttpClient() as client:
        request = EnrollRequest(
            label=new_label(),
            name="Ada",
            language="en",
            transcript=None,
            sample=BytesSample(spoken_sample()),
        )
        enrolled = await ElevenLabs(providers.elevenlabs(), client).enroll(request)
    assert enrolled.requires_verification
    user = given.user()
    attempt = given.queued(user, given.reflection(user))
    given.superuser.execute(
        "update public.voice_clone_attempts set provider = 'elevenlabs' where id = %s", (attempt,)
    )
    await_verification(given, attempt, enrolled.provider_voice_id)
    return attempt


async def look(service: Served, given: Fixture, attempt: UUID) -> dict[str, Any]:
    """Deliver the waiting message, as the consumer does."""
    [message] = given.messages(QUEUE)
    path = f"/internal/voice-clone-attempts/{attempt}/verify"
    body = {"queue": QUEUE, "msg_id": message["msg_id"]}
    answer = await service.http.post(path, json=body, headers=AUTHORIZED)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def settle(service: Served, attempt: UUID, **body: Any) -> httpx.Response:
    path = f"/internal/voice-clone-attempts/{attempt}/verification"
    return await service.http.post(path, json=body, headers=AUTHORIZED)


def next_look(given: Fixture) -> None:
    """The wait ends, and the sweep sends the message."""
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute("update public.voice_clone_attempts set not_before = now()")
        given.superuser.execute("update voice_clone.deadlines set sweep_at = now()")
    given.superuser.execute("select pgmq.purge_queue(%s)", (QUEUE,))
    given.superuser.execute("select from voice_clone.sweep(10)")


async def test_a_voice_is_looked_at_until_it_is_verified(
    given: Fixture, providers: Simulator, service: Served
) -> None:
    attempt = await verifying(given, providers, polls=2)
    for count in (1, 2):
        assert (await look(service, given, attempt))["acknowledged"]
        after = given.attempt(attempt)
        assert (after["status"], after["verify_count"]) == ("verifying", count)
        next_look(given)
    assert (await look(service, given, attempt))["acknowledged"]
    assert given.attempt(attempt)["status"] == "ready"
    assert given.messages(QUEUE) == []
    assert len(providers.calls("elevenlabs", "get", given.attempt(attempt)["provider_voice_id"])) == 3


async def test_a_refused_voice_says_what_the_user_can_do(
    given: Fixture, providers: Simulator, service: Served
) -> None:
    attempt = await verifying(given, providers, polls=0, refused=True)
    await look(service, given, attempt)
    after = given.attempt(attempt)
    assert (after["status"], after["error_code"]) == ("failed", "verification_refused")
    assert "Record another sample" in after["error_message"]
    assert "does not match" not in after["error_message"], "the provider's words reach no client"


async def test_a_voice_that_is_gone_from_its_provider_fails(
    given: Fixture, providers: Simulator, service: Served
) -> None:
    attempt = await verifying(given, providers)
    providers.reset()
    age = (
        "update public.voice_clone_attempts set verifying_at = verifying_at - interval '1 hour' where id = %s"
    )
    given.superuser.execute(age, (attempt,))
    await look(service, given, attempt)
    assert given.attempt(attempt)["error_code"] == "voice_missing"


async def test_a_voice_too_young_to_be_listed_is_looked_at_again(
    given: Fixture, providers: Simulator, service: Served
) -> None:
    attempt = await verifying(given, providers)
    providers.reset()
    await look(service, given, attempt)
    after = given.attempt(attempt)
    assert (after["status"], after["verify_count"]) == ("verifying", 1)
    assert after["not_before"] > after["verifying_at"]


@pytest.mark.parametrize("fault", ["unavailable", "wrong_key", "reset"])
async def test_a_provider_that_cannot_say_is_asked_again(
    given: Fixture, providers: Simulator, service: Served, fault: str
) -> None:
    attempt = await verifying(given, providers, polls=0)
    providers.fault("elevenlabs", "get", fault, times=None)
    await look(service, given, attempt)
    after = given.attempt(attempt)
    assert (after["status"], after["verify_count"], after["error_code"]) == ("verifying", 1, None)
    providers.clear_faults()
    next_look(given)
    await look(service, given, attempt)
    assert given.attempt(attempt)["status"] == "ready"


async def test_a_throttling_provider_is_asked_when_it_says(
    given: Fixture, providers: Simulator, service: Served
) -> None:
    attempt = await verifying(given, providers, polls=0)
    providers.fault("elevenlabs", "get", "throttled", retry_after=90, times=None)
    await look(service, given, attempt)
    providers.clear_faults()
    due = given.truth("select not_before > now() + interval '60 s' as later from public.voice_clone_attempts")
    assert due["later"]


async def test_a_message_that_comes_too_soon_sends_no_request_to_the_provider(
    given: Fixture, providers: Simulator, service: Served
) -> None:
    attempt = await verifying(given, providers)
    await look(service, given, attempt)
    path = f"/internal/voice-clone-attempts/{attempt}/verify"
    again = await service.http.post(path, json={}, headers=AUTHORIZED)
    assert (again.json()["outcome"], again.json()["reason"]) == ("done", "not_due")
    nobody = await service.http.post(path.replace(str(attempt), str(uuid4())), json={}, headers=AUTHORIZED)
    assert nobody.json()["reason"] == "gone"
    assert len(providers.calls("elevenlabs", "get", given.attempt(attempt)["provider_voice_id"])) == 1


async def test_a_verification_is_settled_from_outside_once(
    given: Fixture, providers: Simulator, service: Served
) -> None:
    attempt = await verifying(given, providers)
    other = await settle(service, attempt, verified=True, provider_voice_id="another")
    assert (other.status_code, other.json()["code"]) == (409, "voice_superseded")
    first = await settle(service, attempt, verified=True)
    assert (first.status_code, first.json()["status"]) == (200, "ready")
    assert (await settle(service, attempt, verified=True)).json() == first.json()
    contradiction = await settle(service, attempt, verified=False)
    assert (contradiction.status_code, contradiction.json()["code"]) == (409, "illegal_transition")
    assert (await look(service, given, attempt))["reason"] == "nothing_to_do"
    unknown = await settle(service, uuid4(), verified=True)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


async def test_a_refusal_from_outside_shows_its_reason_to_the_user(
    given: Fixture, providers: Simulator, service: Served
) -> None:
    attempt = await verifying(given, providers)
    for reason in ("", "two\nlines", "long" * 60):
        refused = await settle(service, attempt, verified=False, reason=reason)
        assert (refused.status_code, refused.json()["field"]) == (422, "reason")
    attempt_after = (await settle(service, attempt, verified=False, reason="The speaker is a minor.")).json()
    assert attempt_after["error"]["code"] == "verification_refused"
    assert "The speaker is a minor. Record another sample" in attempt_after["error"]["message"]


async def test_only_the_internal_token_settles_a_verification(
    given: Fixture, providers: Simulator, service: Served
) -> None:
    attempt = await verifying(given, providers)
    for step, body in (("verification", {"verified": True}), ("verify", {})):
        path = f"/internal/voice-clone-attempts/{attempt}/{step}"
        assert (await service.http.post(path, json=body)).status_code == 401
    assert given.attempt(attempt)["status"] == "verifying"
