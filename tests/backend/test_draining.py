"""A queue drained inside the service, for deployments without a resident consumer; and the sweep by HTTP."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import pytest

from backend.app.queues import QUEUES
from tests.backend.conftest import INTERNAL_TOKEN, Served, served
from tests.backend.test_verification import verifying
from tests.fixture import Fixture
from tests.queue_consumers.conftest import Queued, body, until
from tests.simulators import ELEVENLABS_KEY, Simulator

AUTHORIZED = {"authorization": f"Bearer {INTERNAL_TOKEN}"}


@asynccontextmanager
async def serving(given: Fixture, providers: Simulator, logs: Path, **settings: str) -> AsyncIterator[Served]:
    providers.reset()
    known = {"ELEVENLABS_API_KEY": ELEVENLABS_KEY, "ELEVENLABS_BASE_URL": f"{providers.url}/elevenlabs"}
    async with served(logs, given.database.service, **known, **settings) as running:
        yield running


@pytest.fixture
async def service(given: Fixture, providers: Simulator, tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(given, providers, tmp_path) as running:
        yield running


async def drain(service: Served, queue: str, seconds: float = 20) -> dict[str, Any]:
    answer = await service.http.post(
        f"/internal/queues/{queue}/drain", json={"seconds": seconds}, headers=AUTHORIZED
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def send(given: Fixture, queue: str, *bodies: object) -> None:
    texts = [json.dumps(each) for each in bodies]
    given.one("select voice_clone.send_messages(%s, %s::jsonb[], 0)", queue, texts)


def dead(given: Fixture, queue: str) -> list[str]:
    return [*Queued(given.database.service, given.database.superuser, queue).dead().values()]


def waiting(given: Fixture, queue: str) -> tuple[int, int]:
    """How many messages are in the queue, and how many are deferred."""
    tables = Queued(given.database.service, given.database.superuser, queue)
    deferred = "select count(*) from voice_clone.deferred_messages where queue = %s"
    return len(tables.live()), given.truth(deferred, queue)["count"]


async def test_every_queue_that_is_consumed_can_be_drained(service: Served) -> None:
    for queue in QUEUES:
        assert await drain(service, queue) == {"handled": 0, "running": 0, "empty": True}


async def test_draining_takes_an_attempt_as_far_as_consumers_would(
    given: Fixture, providers: Simulator, service: Served
) -> None:
    given.superuser.execute("update voice_clone.timeouts set value = '0' where name = 'mirror_progress'")
    attempts = [await verifying(given, providers, polls=0) for _ in range(3)]
    for queue in ("voice_clone_verify", "voice_runtime_sync"):
        assert await drain(service, queue) == {"handled": 3, "running": 0, "empty": True}
    assert {given.attempt(attempt)["runtime_status"] for attempt in attempts} == {"synced"}
    drained = await drain(service, "voice_mirror")
    assert drained["empty"]
    assert drained["handled"] > 3
    mirrors = given.superuser.execute("select voice ->> 'runtimeStatus' as is from public.reflections")
    assert [row["is"] for row in mirrors] == ["synced"] * 3
    for queue in ("voice_clone_verify", "voice_runtime_sync", "voice_mirror"):
        assert waiting(given, queue) == (0, 0)


async def test_a_step_that_runs_when_the_time_is_up_acknowledges_its_own_message(
    given: Fixture, providers: Simulator, service: Served
) -> None:
    attempt = await verifying(given, providers, polls=0)
    providers.fault("elevenlabs", "get", "hang")
    assert await drain(service, "voice_clone_verify", 0.2) == {"handled": 0, "running": 1, "empty": False}
    assert given.attempt(attempt)["status"] == "verifying"
    providers.release()
    await until(lambda: given.attempt(attempt)["status"] == "ready")
    assert waiting(given, "voice_clone_verify") == (0, 0)


async def test_a_step_that_takes_longer_than_the_visibility_keeps_its_message(
    given: Fixture, providers: Simulator, tmp_path: Path
) -> None:
    async with serving(given, providers, tmp_path, VISIBILITY_SECONDS="1") as service:
        attempt = await verifying(given, providers, polls=0)
        providers.fault("elevenlabs", "get", "hang")
        assert (await drain(service, "voice_clone_verify", 0.2))["running"] == 1
        queue = Queued(given.database.service, given.database.superuser, "voice_clone_verify")
        await until(lambda: queue.rows("select from {queue} where vt > enqueued_at + interval '2.5 s'"))
        assert (await drain(service, "voice_clone_verify", 0.2))["handled"] == 0
        assert queue.rows("select read_ct from {queue}") == [(1,)]
        providers.release()
        await until(lambda: given.attempt(attempt)["status"] == "ready")
    assert waiting(given, "voice_clone_verify") == (0, 0)


async def test_drains_run_no_more_steps_at_once_than_max_jobs(
    given: Fixture, providers: Simulator, tmp_path: Path
) -> None:
    async with serving(given, providers, tmp_path, MAX_JOBS="2", MAX_JOBS_PER_USER="1") as service:
        for _ in range(3):
            await verifying(given, providers, polls=0)
        providers.fault("elevenlabs", "get", "hang", times=2)
        assert (await drain(service, "voice_clone_verify", 0.2))["running"] == 2
        assert await drain(service, "voice_clone_verify") == {"handled": 0, "running": 0, "empty": False}
        providers.release()
        verified = "select count(*) from public.voice_clone_attempts where status = 'ready'"
        await until(lambda: given.truth(verified)["count"] == 2)
        assert (await drain(service, "voice_clone_verify"))["handled"] == 1


async def test_a_message_that_cannot_be_handled_is_a_dead_letter(given: Fixture, service: Served) -> None:
    send(given, "voice_preview", {"id": "no id"}, body(tries=16), body())
    given.superuser.execute("select pgmq.send('voice_preview', null::jsonb, 0)")
    assert (await drain(service, "voice_preview"))["handled"] == 4
    reasons = {reason.partition(":")[0] for reason in dead(given, "voice_preview")}
    assert reasons == {"malformed", "budget_used"}
    send(given, "voice_mirror", {"id": 7}, body())
    assert (await drain(service, "voice_mirror"))["handled"] == 2
    assert [reason.partition(":")[0] for reason in dead(given, "voice_mirror")] == ["malformed"]


async def test_a_step_of_another_worker_is_snoozed_and_no_try_is_counted(
    given: Fixture, service: Served
) -> None:
    attempt = given.queued(given.user(), None)
    given.claim(attempt)
    assert (await drain(service, "voice_clone_process"))["handled"] == 1
    assert waiting(given, "voice_clone_process") == (0, 1)
    row = given.truth(
        "select message, due_at > now() + interval '30 s' as late from voice_clone.deferred_messages"
    )
    assert (UUID(row["message"]["id"]), row["message"]["tries"], row["late"]) == (attempt, 0, True)


BREAK: LiteralString = (
    "alter function voice_clone.claim_step(uuid, text, text, int) rename to claim_step_away"
)


async def test_a_step_that_crashes_is_tried_again_until_its_budget_is_used(
    given: Fixture, providers: Simulator, tmp_path: Path
) -> None:
    given.superuser.execute(BREAK)
    async with serving(given, providers, tmp_path, MESSAGE_BUDGET="2") as service:
        send(given, "voice_preview", body())
        await drain(service, "voice_preview")  # the second try may be in it: its delay is random
        given.superuser.execute("update pgmq.q_voice_preview set vt = now()")
        await drain(service, "voice_preview")
    assert dead(given, "voice_preview") == ["UndefinedFunction (tried 2 times)"]


async def test_a_drain_needs_the_token_a_known_queue_and_a_sound_time_limit(service: Served) -> None:
    path = "/internal/queues/voice_mirror/drain"
    assert (await service.http.post(path, json={})).status_code == 401
    for seconds in (0, 301, "long"):
        refused = await service.http.post(path, json={"seconds": seconds}, headers=AUTHORIZED)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    unknown = await service.http.post("/internal/queues/attempts/drain", json={}, headers=AUTHORIZED)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert "voice_mirror" in unknown.json()["help"]


async def test_the_sweep_by_http_says_what_it_did_and_keeps_its_limit(
    given: Fixture, service: Served
) -> None:
    user = given.user()
    for _ in range(3):
        given.open(user, None)
    with given.superuser.transaction():
        given.superuser.execute("set local session_replication_role = replica")
        given.superuser.execute(
            "update public.voice_clone_attempts set created_at = now() - interval '2 days'"
        )
    given.superuser.execute("update voice_clone.deadlines set sweep_at = now()")

    async def sweep(**parameters: Any) -> Any:
        answer = await service.http.post("/internal/sweep", json=parameters, headers=AUTHORIZED)
        return answer.json() if answer.status_code == 200 else answer.status_code

    assert [await sweep(limit=2), await sweep(), await sweep()] == [{"expired": 2}, {"expired": 1}, {}]
    assert await sweep(limit=0) == 422
    assert (await service.http.post("/internal/sweep", json={})).status_code == 401
