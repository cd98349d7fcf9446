"""`python -m queue_consumers` as a process: killed, stopped by signals, started with wrong settings."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest_asyncio

from scripts.migrations import ROOT
from scripts.parent_death import die_with_parent
from tests.queue_consumers.conftest import Queued, soon, until
from tests.queue_consumers.service import Answered, Asked, Service, serving

QUEUE = "voice_preview"


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    async with serving() as started:
        yield started


def environment(queued: Queued, service: Service, **settings: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": queued.database,
        "SERVICE_URL": service.settings.url,
        "INTERNAL_TOKEN": service.settings.internal_token,
        "VISIBILITY_SECONDS": "2",
        "POLL_SECONDS": "0.2",
        **settings,
    }


@asynccontextmanager
async def consumer(env: Mapping[str, str], *queues: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "queue_consumers", *queues),
        env=dict(env),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent(),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


class Held:
    """Answers no request until released."""

    def __init__(self, service: Service, released_at_first: int = 0) -> None:
        self.released = asyncio.Event()
        self._free = released_at_first
        self._service = service
        service.answer = self.answer

    async def answer(self, _: Asked) -> Answered:
        if len(self._service.asked) > self._free:
            await self.released.wait()
        return Answered()


async def test_a_consumer_killed_in_the_middle_loses_nothing(queued: Queued, service: Service) -> None:
    held = Held(service, released_at_first=40)
    queued.send_many(200)
    sent = queued.live()
    env = environment(queued, service)
    async with consumer(env, QUEUE) as first:
        await until(lambda: len(service.asked) > 60)
        first.send_signal(signal.SIGKILL)
        await first.wait()
    assert set(queued.live()) - set(service.handled()), "it was killed too late to show anything"
    held.released.set()
    async with consumer(env, QUEUE):
        await until(lambda: not queued.live())
    assert set(service.handled()) == set(sent)
    assert queued.archived() == sent
    assert queued.dead() == {}


async def test_sigterm_lets_running_handlers_finish_and_puts_the_rest_back(
    queued: Queued, service: Service
) -> None:
    held = Held(service)
    queued.send_many(200)
    async with consumer(
        environment(queued, service, MAX_JOBS="5", VISIBILITY_SECONDS="600"), QUEUE
    ) as process:
        await until(lambda: len(service.asked) == 5)
        process.send_signal(signal.SIGTERM)
        # Put back while the five still run: only what they hold stays invisible.
        await until(
            lambda: queued.rows("select count(*) from {queue} where vt > clock_timestamp()") == [(5,)]
        )
        held.released.set()
        _, logged = await process.communicate()
    assert process.returncode == 0
    assert queued.archived() == sorted(service.handled())
    assert len(queued.live()) == 195
    assert queued.rows("select from {queue} where vt > clock_timestamp()") == []
    assert [json.loads(line)["event"] for line in logged.splitlines()][-1] == "drained"


async def test_sigterm_puts_back_what_does_not_finish_within_the_grace(
    queued: Queued, service: Service
) -> None:
    held = Held(service)
    queued.send_many(10)
    env = environment(queued, service, VISIBILITY_SECONDS="600", GRACE_SECONDS="1")
    async with consumer(env, QUEUE) as process:
        await until(lambda: len(service.asked) == 10)
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        held.released.set()
    assert process.returncode == 0
    assert len(queued.live()) == 10
    assert queued.rows("select from {queue} where vt > clock_timestamp()") == []


async def test_a_second_signal_ends_it_at_once(queued: Queued, service: Service) -> None:
    held = Held(service)
    queued.send_many(1)
    async with consumer(environment(queued, service, GRACE_SECONDS="600"), QUEUE) as process:
        await soon(service.arrived)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while b"draining" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        held.released.set()
    assert process.returncode == 128 + signal.SIGTERM


async def test_logs_are_json_and_carry_no_payload_and_no_secret(queued: Queued, service: Service) -> None:
    async def answer(_: Asked) -> Answered:
        return Answered(500, {"code": "broken"})

    service.answer = answer
    queued.send({"event": "payload-secret", "id": "payload-secret"}, "payload-secret")
    (id_,) = queued.send_many(1)
    env = environment(queued, service, MESSAGE_BUDGET="1", LOG_LEVEL="debug")
    async with consumer(env, QUEUE) as process:
        await until(lambda: len(queued.dead()) >= 2 and not queued.live())
        process.send_signal(signal.SIGTERM)
        _, logged = await process.communicate()
    events = [json.loads(line) for line in logged.splitlines()]
    assert {"consuming", "listening", "dead_letter", "draining", "drained"} <= {
        event["event"] for event in events
    }
    for secret in ("payload-secret", str(id_), service.settings.internal_token, queued.database):
        assert secret not in logged.decode()


async def test_every_fault_of_the_settings_is_named_before_anything_starts() -> None:
    env = {"PATH": os.environ["PATH"], "MAX_JOBS": "none", "LOG_FORMAT": "xml"}
    async with consumer(env) as process:
        _, said = await process.communicate()
    assert process.returncode == 1
    for name in ("DATABASE_URL is missing", "INTERNAL_TOKEN is missing"):
        assert name in said.decode()
    assert "MAX_JOBS" in said.decode()
    assert "json, console" in said.decode()


async def test_the_mirror_needs_no_service() -> None:
    async with consumer({"PATH": os.environ["PATH"]}, "voice_mirror") as process:
        _, said = await process.communicate()
    assert "SERVICE_URL" not in said.decode()
    assert "DATABASE_URL is missing" in said.decode()


async def test_an_unknown_queue_is_named_with_those_there_are() -> None:
    async with consumer({"PATH": os.environ["PATH"], "COLUMNS": "200"}, "voice_mirro") as process:
        _, said = await process.communicate()
    assert process.returncode == 2
    assert "no queue voice_mirro" in said.decode()
    assert "voice_runtime_sync" in said.decode()
