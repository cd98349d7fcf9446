"""Steps over HTTP: the request to the service, and the outcome of each response."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio

from backend.app.queues import QUEUES, LifecycleMessage, LifecycleQueue
from backend.queues.outcomes import Cancel, Done, Outcome, Retry, Snooze
from backend.queues.queue import Delivery
from queue_consumers.http_steps import http_step, open_client
from queue_consumers.settings import ServiceSettings
from scripts.local.supabase.ports import free_port
from tests.queue_consumers.conftest import Queued, body, consuming, until
from tests.queue_consumers.service import DONE, TOKEN, Answered, Asked, Service, serving


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    async with serving() as started:
        yield started


async def outcome_of(queue: LifecycleQueue, service: ServiceSettings, **more: object) -> Outcome:
    message = msgspec.convert(body() | more, LifecycleMessage)
    async with open_client(service, 1) as http:
        return await http_step(queue, http)(Delivery(queue=queue.name, msg_id=12, tries=1), message)


ADDRESSES = {
    "voice_clone_process": "voice-clone-attempts/{}/process",
    "voice_clone_verify": "voice-clone-attempts/{}/verify",
    "voice_runtime_sync": "voice-clone-attempts/{}/runtime-sync",
    "voice_preview": "voice-clone-attempts/{}/preview",
    "voice_cleanup": "enrollments/{}/clean-up",
    "object_removal": "object-removals/{}/remove",
    "voice_samples": "voice-samples/{}/prepare",
    "recordings": "recordings/{}/fetch",
    "speech_jobs": "speech-jobs/{}/speak",
    "uploads": "voice-clone-attempts/{}/finalize",
    "recording_clones": "recording-clones/{}/clone",
    "employee_files": "employees/{}/write-file",
    "consent_anchors": "consent-anchors/{}/publish",
    "voice_checks": "voice-checks/{}/check",
    "webhooks": "webhooks/{}/deliver",
}
STEPS = [name for name, queue in QUEUES.items() if queue.step]


@pytest.mark.parametrize("queue", STEPS)
async def test_a_step_is_requested_with_the_internal_token(service: Service, queue: str) -> None:
    id_ = uuid4()
    assert await outcome_of(QUEUES[queue], service.settings, id=str(id_)) == Done()
    (asked,) = service.asked
    assert asked.path == f"/internal/{ADDRESSES[queue].format(id_)}"
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.body == {"queue": queue, "msg_id": 12}


@pytest.mark.parametrize("queue", STEPS)
async def test_a_message_whose_step_always_fails_is_a_dead_letter_with_the_reason(
    queued: Queued, service: Service, queue: str
) -> None:
    async def answer(_: Asked) -> Answered:
        return Answered(status=500, body={"code": "internal_error"})

    service.answer = answer
    ours = Queued(queued.database, queued.superuser, queue)
    (msg_id,) = ours.send(body())
    retried = {"budget": 2, "retry_base_seconds": 0.01, "retry_cap_seconds": 0.01}
    async with consuming(queued.database, QUEUES[queue], service=service.settings, **retried):
        await until(ours.dead)
    assert len(service.asked) == 2
    assert ours.dead() == {msg_id: "internal_error (tried 2 times)"}
    assert ours.live() == []


async def test_the_process_step_of_a_reflections_attempt_has_the_longer_address(service: Service) -> None:
    id_, reflection = uuid4(), uuid4()
    process = QUEUES["voice_clone_process"]
    assert await outcome_of(process, service.settings, id=str(id_), reflection_id=str(reflection)) == Done()
    assert await outcome_of(process, service.settings, id=str(id_), reflection_id=None) == Done()
    preview = QUEUES["voice_preview"]
    assert await outcome_of(preview, service.settings, id=str(id_), reflection_id=str(reflection)) == Done()
    assert [asked.path for asked in service.asked] == [
        f"/internal/reflections/{reflection}/voice-clone-attempts/{id_}/process",
        f"/internal/voice-clone-attempts/{id_}/process",
        f"/internal/voice-clone-attempts/{id_}/preview",
    ]


PROBLEM = {"type": "about:blank", "title": "Conflict", "status": 409}


@pytest.mark.parametrize(
    ("answered", "outcome"),
    [
        (Answered(body=DONE), Done()),
        (Answered(body=DONE | {"acknowledged": True}), Done(acknowledged=True)),
        (Answered(body={"outcome": "cancel", "reason": "inactive"}), Cancel("inactive")),
        (Answered(body={"outcome": "cancel", "acknowledged": True}), Cancel(acknowledged=True)),
        (Answered(body={"outcome": "retry", "retry_after": 7}), Retry(retry_after=7, reason="retry")),
        (Answered(body={"outcome": "retry", "reason": "throttled"}), Retry(reason="throttled")),
        (Answered(404, PROBLEM | {"code": "not_found"}), Cancel("not_found")),
        (Answered(409, PROBLEM | {"code": "illegal_transition"}), Cancel("illegal_transition")),
        (Answered(409, PROBLEM | {"code": "stale_lease"}), Retry(reason="stale_lease")),
        (
            Answered(503, PROBLEM | {"code": "database_unavailable"}, (("Retry-After", "3"),)),
            Retry(retry_after=3, reason="database_unavailable", is_outage=True),
        ),
        (
            Answered(503, b"upstream away", (("Retry-After", "Sat, 21 Nov 2026 00:00:00 GMT"),)),
            Retry(retry_after=0, reason="http_503", is_outage=True),
        ),
        (
            Answered(429, PROBLEM | {"code": "throttled"}, (("Retry-After", "31536000"),)),
            Retry(retry_after=300, reason="throttled", is_outage=True),
        ),
        (
            Answered(401, PROBLEM | {"code": "token_invalid"}),
            Retry(reason="token_invalid", is_outage=True),
        ),
        (Answered(500, PROBLEM | {"code": "internal_error"}), Retry(reason="internal_error")),
        (Answered(500, b""), Retry(reason="http_500", is_outage=True)),
        (Answered(404, b"<html>404", content_type="text/html"), Retry(reason="http_404", is_outage=True)),
        (Answered(404, {"message": "no Route matched"}), Retry(reason="http_404", is_outage=True)),
        (
            Answered(404, {"code": "not_found"}, content_type="application/json"),
            Retry(reason="http_404", is_outage=True),
        ),
        (
            Answered(404, PROBLEM | {"code": "route_not_found"}),
            Retry(reason="route_not_found", is_outage=True),
        ),
        (
            Answered(409, {"code": "illegal_transition"}, content_type="application/json"),
            Retry(reason="http_409", is_outage=True),
        ),
    ],
)
async def test_each_answer_has_its_outcome(service: Service, answered: Answered, outcome: Outcome) -> None:
    async def answer(_: Asked) -> Answered:
        return answered

    service.answer = answer
    assert await outcome_of(QUEUES["voice_clone_process"], service.settings) == outcome


async def test_a_snooze_lasts_as_long_as_the_service_says(service: Service) -> None:
    async def answer(_: Asked) -> Answered:
        return Answered(body={"outcome": "snooze", "retry_after": 60})

    service.answer = answer
    assert await outcome_of(QUEUES["voice_clone_process"], service.settings) == Snooze(retry_after=60)


@pytest.mark.parametrize("content", [b"<html>", b"{}", b'{"outcome":"maybe"}'])
async def test_an_answer_that_is_no_outcome_is_a_retry(service: Service, content: bytes) -> None:
    async def answer(_: Asked) -> Answered:
        return Answered(body=content)

    service.answer = answer
    outcome = await outcome_of(QUEUES["voice_clone_process"], service.settings)
    assert isinstance(outcome, Retry)
    assert outcome.is_outage
    assert outcome.reason.startswith("bad_answer")


async def test_a_service_that_is_down_is_a_retry() -> None:
    away = ServiceSettings(url=f"http://127.0.0.1:{free_port()}", internal_token=TOKEN)
    outcome = await outcome_of(QUEUES["voice_preview"], away)
    assert outcome == Retry(reason="service_unreachable: ClientConnectorError", is_outage=True)


async def test_all_queues_are_consumed_together(queued: Queued, service: Service) -> None:
    each = [Queued(queued.database, queued.superuser, name) for name in STEPS]
    for one in each:
        one.send_many(30)
    async with consuming(queued.database, *(QUEUES[name] for name in STEPS), service=service.settings):
        await until(lambda: not any(one.live() for one in each))
    assert len(service.asked) == 30 * len(STEPS)
    assert all(len(one.archived()) == 30 for one in each)


async def test_a_step_without_an_answer_is_retried_after_the_deadline(
    queued: Queued, service: Service
) -> None:
    async def answer(_: Asked) -> Answered:
        await asyncio.Event().wait()
        return Answered()

    service.answer = answer
    queued.send_many(1)
    async with consuming(
        queued.database, QUEUES["voice_preview"], service=service.settings, deadline_seconds=0.2, budget=1
    ):
        await until(queued.dead)
    assert list(queued.dead().values()) == ["DeadlineError: stopped after 0.2 s (tried 1 times)"]
