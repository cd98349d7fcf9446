"""The queues whose steps the service does: what is asked, and what each answer means for the message."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio

from queue_consumers import voice_cleanup, voice_clone_process, voice_preview, voice_runtime_sync
from queue_consumers.internal_http import open_client
from queue_consumers.outcomes import Cancel, Done, Outcome, Retry, Snooze
from queue_consumers.queue import Context, Message, Queue
from queue_consumers.settings import ServiceSettings
from scripts.local.supabase.ports import free_port
from tests.queue_consumers.conftest import Queued, body, consuming, until
from tests.queue_consumers.service import DONE, TOKEN, Answered, Asked, Service, serving


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    async with serving() as started:
        yield started


async def outcome_of(queue: Queue, service: ServiceSettings, **more: object) -> Outcome:
    assert queue.handle is not None
    message = msgspec.convert(body() | more, Message)
    async with open_client(service, 1) as http:
        context = Context(queue=queue.name, msg_id=12, tries=1, http=http)
        return await queue.handle(context, message)


@pytest.mark.parametrize(
    ("queue", "path"),
    [
        (voice_clone_process.QUEUE, "voice-clone-attempts/{}/process"),
        (voice_runtime_sync.QUEUE, "voice-clone-attempts/{}/runtime-sync"),
        (voice_preview.QUEUE, "voice-clone-attempts/{}/preview"),
        (voice_cleanup.QUEUE, "enrollments/{}/clean-up"),
    ],
)
async def test_a_step_is_asked_of_the_service_with_the_internal_token(
    service: Service, queue: Queue, path: str
) -> None:
    id_ = uuid4()
    assert await outcome_of(queue, service.settings, id=str(id_)) == Done()
    (asked,) = service.asked
    assert asked.path == f"/internal/{path.format(id_)}"
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.body == {"queue": queue.name, "msgId": 12}


PROBLEM = {"type": "about:blank", "title": "Conflict", "status": 409}


@pytest.mark.parametrize(
    ("answered", "outcome"),
    [
        (Answered(body=DONE), Done()),
        (Answered(body=DONE | {"archived": True}), Done(archived=True)),
        (Answered(body=DONE | {"outcome": "cancel", "reason": "inactive"}), Cancel("inactive")),
        (Answered(body=DONE | {"outcome": "cancel", "archived": True}), Done(archived=True)),
        (Answered(body=DONE | {"outcome": "retry", "retryAfter": 7}), Retry(after=7, reason="retry")),
        (Answered(body=DONE | {"outcome": "retry", "reason": "throttled"}), Retry(reason="throttled")),
        (Answered(404, PROBLEM | {"code": "not_found"}), Cancel("not_found")),
        (Answered(409, PROBLEM | {"code": "illegal_transition"}), Cancel("illegal_transition")),
        (Answered(409, PROBLEM | {"code": "stale_lease"}), Retry(reason="stale_lease")),
        (
            Answered(503, PROBLEM | {"code": "database_unavailable"}, (("Retry-After", "3"),)),
            Retry(after=3, reason="database_unavailable"),
        ),
        (
            Answered(503, b"upstream away", (("Retry-After", "Sat, 21 Nov 2026 00:00:00 GMT"),)),
            Retry(reason="http_503"),
        ),
        (Answered(401, PROBLEM | {"code": "unauthorized"}), Retry(reason="unauthorized")),
        (Answered(500, b""), Retry(reason="http_500")),
    ],
)
async def test_each_answer_has_its_outcome(service: Service, answered: Answered, outcome: Outcome) -> None:
    async def answer(_: Asked) -> Answered:
        return answered

    service.answer = answer
    assert await outcome_of(voice_clone_process.QUEUE, service.settings) == outcome


async def test_a_snooze_lasts_as_long_as_the_service_says(service: Service) -> None:
    async def answer(_: Asked) -> Answered:
        return Answered(body=DONE | {"outcome": "snooze", "retryAfter": 60})

    service.answer = answer
    before = await outcome_of(voice_clone_process.QUEUE, service.settings)
    after = await outcome_of(voice_clone_process.QUEUE, service.settings)
    assert isinstance(before, Snooze)
    assert isinstance(after, Snooze)
    assert before.until < after.until


@pytest.mark.parametrize("content", [b"<html>", b"{}", b'{"outcome":"maybe"}'])
async def test_an_answer_nobody_understands_is_a_retry(service: Service, content: bytes) -> None:
    async def answer(_: Asked) -> Answered:
        return Answered(body=content)

    service.answer = answer
    outcome = await outcome_of(voice_clone_process.QUEUE, service.settings)
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("bad_answer")


async def test_a_service_that_is_away_is_a_retry() -> None:
    away = ServiceSettings(url=f"http://127.0.0.1:{free_port()}", internal_token=TOKEN)
    outcome = await outcome_of(voice_preview.QUEUE, away)
    assert outcome == Retry(reason="service_unreachable: ClientConnectorError")


async def test_all_three_queues_are_consumed_together(queued: Queued, service: Service) -> None:
    queues = [voice_clone_process.QUEUE, voice_runtime_sync.QUEUE, voice_preview.QUEUE]
    each = [Queued(queued.database, queued.superuser, queue.name) for queue in queues]
    for one in each:
        one.send_many(30)
    async with consuming(queued.database, *queues, service=service.settings):
        await until(lambda: not any(one.live() for one in each))
    assert len(service.asked) == 90
    assert all(len(one.archived()) == 30 for one in each)


async def test_a_step_the_service_does_not_end_is_given_up_at_the_deadline(
    queued: Queued, service: Service
) -> None:
    async def answer(_: Asked) -> Answered:
        await asyncio.Event().wait()
        return Answered()

    service.answer = answer
    queued.send_many(1)
    async with consuming(
        queued.database, voice_preview.QUEUE, service=service.settings, deadline_seconds=0.2, budget=1
    ):
        await until(queued.dead)
    assert list(queued.dead().values()) == ["DeadlineError: stopped after 0.2 s (tried 1 times)"]
