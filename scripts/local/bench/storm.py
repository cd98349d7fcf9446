"""A storm: workers are killed, Postgres restarts, providers fail, users take back what they gave.

The tests check that the database and the providers agree afterwards; the benchmark measures how many voices
a second became ready.
"""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from backend.database.queries import load_queries
from scripts.local.bench.figures import Figure, at_least
from scripts.local.bench.seed import Bench, store_object, upload_prepared
from scripts.local.bench.user_actions import USER_ACTIONS, act_as_user
from scripts.local.product import REGION, service_settings
from scripts.local.sample import speak_sample
from scripts.local.supabase.processes import Child
from scripts.local.supabase.stack import Stack, running_stack
from scripts.migrations import ROOT

queries = load_queries(__file__)
SETTINGS = {
    "LOG_LEVEL": "info",
    "LEASE_SECONDS": "3",
    "PROVIDER_CREATE_SECONDS": "4",
    "PROVIDER_LISTING_LAG_SECONDS": "1.8",
    "ENROLLMENT_SETTLE_SECONDS": "6",
    "MAX_JOBS": "16",
    "VISIBILITY_SECONDS": "4",
    "DEADLINE_SECONDS": "10",
    "POLL_SECONDS": "0.5",
    "SWEEP_SECONDS": "0.3",
    "MESSAGE_BUDGET": "100",
    "RETRY_BASE_SECONDS": "0.5",
    "RETRY_CAP_SECONDS": "3",
}
TIMES = {
    "lost_message": 6.0,
    "lost_message_cap": 12.0,
    "step": 8.0,
    "orphan_grace": 86_400.0,
    "verification_poll": 1.0,
    "verification_poll_cap": 4.0,
}
# Each call meets each of these with its own probability. What hangs has had its effect before.
FAULTS: tuple[dict[str, Any], ...] = (
    {"operation": "create", "fault": "latency", "seconds": 0.3, "probability": 0.5},
    {"operation": "create", "fault": "list_lag", "seconds": 1.5, "probability": 0.3},
    {"operation": "create", "fault": "hang", "after_commit": True, "probability": 0.04},
    {"operation": "create", "fault": "bad_gateway", "after_commit": True, "probability": 0.08},
    {"operation": "create", "fault": "internal_error", "probability": 0.05},
    {"operation": "create", "fault": "verification_required", "polls": 2, "probability": 0.15},
    {"operation": "*", "fault": "throttled", "retry_after": 0.5, "probability": 0.08},
    {"operation": "*", "fault": "bad_gateway", "probability": 0.04},
)
DISRUPTIONS = ["service", "consumers 1", "consumers 2", "postgres", "postgres", "release", "region"]
OTHER_REGION = "beijing"
PATIENCE_SECONDS = 600  # after an outage of ten minutes, a step may wait five more until it tries again
BENCH_ATTEMPTS, BENCH_DISRUPTIONS = 200, 20
SAMPLES_AT_ONCE = 2  # by themselves, after each disruption


class Storm:
    """A stack with simulator, service and two consumers, and the disruptions of them."""

    def __init__(self, stack: Stack, prepared: tuple[str, int], sample: Path, seed: int) -> None:
        self.stack = stack
        self.sample = sample
        self.bench = Bench(stack, prepared)
        self.disruptions = dict.fromkeys(DISRUPTIONS, 0)
        self.attempts: list[Any] = []  # that were queued
        self.reflection_of: dict[Any, Any] = {}  # of each of them; an erasure takes it out of the events
        self.samples: list[Any] = []  # that users sent by themselves
        self.speeches: list[Any] = []  # jobs that were requested
        self.taken_down: set[Any] = set()  # attempts, each until the next notice or the end of the storm
        self.done: dict[str, set[Any]] = {action: set() for action in USER_ACTIONS}  # to these ids
        self._region = REGION
        self._random = random.Random(seed)  # noqa: S311 - the same disruptions in each run
        self._children: dict[str, Child] = {}

    async def start(self) -> None:
        for name, seconds in TIMES.items():
            self.bench.run(queries.time, {"name": name, "seconds": seconds})
        for name in ("simulator", "service", "consumers 1", "consumers 2"):
            await self._start(name)
        await self._children["simulator"].await_output("provider simulator:")
        await self._children["service"].await_url(f"{self.stack.api_url}/health/ready")

    async def _start(self, name: str) -> None:
        module = {"simulator": "scripts.local.simulator", "service": "backend"}.get(name, "queue_consumers")
        command = [sys.executable, "-m", module]
        env: Mapping[str, str] = {}
        if name == "simulator":
            command += [
                "--port",
                self.stack.simulator_url.rsplit(":", 1)[1],
                "--instant",
                "--slots",
                "100000",
            ]
        else:
            env = {**service_settings(self.stack, "qwen"), **SETTINGS, **self._qwen_settings()}
        self._children[name] = await self.stack.processes.start(name, command, env, cwd=ROOT)

    def _qwen_settings(self) -> dict[str, str]:
        return {
            "QWEN_API_KEY": f"sk-sim-{self._region}",
            "QWEN_REGION": self._region,
            "QWEN_BASE_URL": f"{self.stack.simulator_url}/qwen/{self._region}",
        }

    def queue(self, reflections: list[Any]) -> list[Any]:
        path, size = self.bench.prepared
        parameters = {"reflections": reflections, "region": REGION, "path": path, "bytes": size}
        queued = dict(self.bench.run(queries.queued, parameters))
        self.reflection_of |= queued
        self.attempts += queued
        return [*queued]

    def speak(self) -> None:
        """Requests speech jobs, some of them at a provider where their sample has no voice."""
        for elsewhere in (False, False, True):
            parameters = {"region": REGION, "elsewhere": elsewhere}
            self.speeches += self.bench.run(queries.spoken, parameters)

    def reflections(self, count: int) -> list[Any]:
        return self.bench.new_reflections(count)

    async def queue_and_disrupt(self, attempts: int, disruptions: int) -> None:
        """Half of the attempts at once, the others between the disruptions; one in ten supersedes another.

        Users request speech, and one of them acts, before each disruption. What follows is in `done` and in
        the event log.
        """
        await self.control("POST", "/faults", [
            {"provider": provider, "times": None, **fault}
            for provider in ("qwen", "elevenlabs") for fault in FAULTS
        ])  # fmt: skip
        superseding = attempts // 10
        reflections = self.reflections(attempts - superseding)
        later = reflections[attempts // 2 :] + self._random.sample(reflections, superseding)
        self.queue(reflections[: attempts // 2])
        each_once: list[str] = []
        for disruption in range(disruptions):
            await asyncio.sleep(self._random.uniform(0.2, 1.2))
            self.lift_takedowns()
            self.speak()
            self.act_as_user(disruption)
            self.take_down()
            each_once = each_once or self._random.sample(DISRUPTIONS, len(DISRUPTIONS))
            await self.disrupt(each_once.pop())
            self.queue(later[disruption::disruptions])
            await self.send_samples(SAMPLES_AT_ONCE)

    async def send_samples(self, count: int) -> None:
        """Of users by themselves: the file is stored, and the sample has its message."""
        content = self.sample.read_bytes()
        with psycopg.connect(self.stack.cluster.dsn()) as connection:
            parameters = {"count": count, "bytes": len(content)}
            added = connection.execute(queries.added.encode(), parameters).fetchall()
        for sample, path in added:
            try:
                await store_object(self.stack, path, content)
            except (
                httpx.HTTPError
            ):  # Storage has not noticed the new Postgres yet; the sweep removes the sample
                continue
            self.bench.run(queries.received, {"samples": [sample]})
            self.samples.append(sample)

    def sample_ends(self) -> list[Any]:
        with psycopg.connect(self.stack.cluster.dsn()) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            return cursor.execute(queries.sample_ends.encode(), {"samples": self.samples}).fetchall()

    def act_as_user(self, number: int) -> None:
        action, ids = act_as_user(self.bench, number, self._random)
        self.done[action].update(ids)

    def take_down(self) -> None:
        """A notice about a voice, or an attempt that makes one."""
        self.taken_down.update(self.bench.run(queries.taken_down, {}))

    def lift_takedowns(self) -> None:
        self.bench.run(queries.lifted, {})

    async def disrupt(self, what: str) -> None:
        self.disruptions[what] += 1
        if what == "release":
            await self.control("POST", "/release")
        elif what == "postgres":
            cluster = self.stack.cluster
            port = cluster.port
            cluster.stop(immediately=True)
            cluster.start(port=port)
        elif what == "region":
            await self.move(REGION if self._region == OTHER_REGION else OTHER_REGION)
        else:
            await self.kill(what)
            await self._start(what)

    async def move(self, region: str) -> None:
        """The service is killed, and started with Qwen's key of this region."""
        self._region = region
        await self.kill("service")
        await self._start("service")

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """SIGSTOP, with its workers, and SIGCONT afterwards."""
        pid = self._children[name].pid
        os.killpg(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(pid, signal.SIGCONT)

    async def kill(self, name: str) -> None:
        """SIGKILL, with its workers: no job is finished, no connection is closed."""
        child = self._children[name]
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.process.wait()
        self.stack.processes.children.remove(child)

    async def recover(self) -> None:
        """End the faults in the first region and the takedowns, then wait until no work is left.

        Raises TimeoutError with the work that is left.
        """
        if self._region != REGION:
            await self.move(REGION)
        await self.control("DELETE", "/faults")
        await self.control("POST", "/release")
        self.lift_takedowns()
        left: list[Any] = []
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while left := self.unsettled():  # noqa: ASYNC110 - what ends it sends no event
                    await asyncio.sleep(0.2)
        except TimeoutError as error:
            raise TimeoutError(f"after {PATIENCE_SECONDS} s there are still {left}") from error

    def unsettled(self) -> list[Any]:
        with psycopg.connect(self.stack.cluster.dsn()) as connection:
            return connection.execute(queries.unsettled.encode()).fetchall()

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            answer = await http.request(method, f"{self.stack.simulator_url}/_control{path}", json=body)
            return answer.raise_for_status().json()


@asynccontextmanager
async def storm(directory: Path, seed: int = 0) -> AsyncIterator[Storm]:
    """Started, on a durable stack of its own."""
    async with running_stack(directory) as stack:
        stack.simulator_url = f"http://127.0.0.1:{stack.ports.take()}"
        stack.api_url = f"http://127.0.0.1:{stack.ports.take()}"
        sample = directory / "sample.wav"
        await asyncio.to_thread(
            speak_sample, sample, "What a storm is this, and still every voice gets home."
        )
        prepared = await upload_prepared(stack, await asyncio.to_thread(sample.read_bytes))
        made = Storm(stack, prepared, sample, seed)
        await made.start()
        yield made


async def useful_throughput(directory: Path) -> list[Figure]:
    """Voices ready per second under disruptions, until every attempt has ended; the floor is without them."""
    async with storm(directory) as made:
        floor = await voices_per_second(made, disruptions=0)
        value = await voices_per_second(made, disruptions=BENCH_DISRUPTIONS)
    return [at_least("ready in a storm", value, "voices/s", 1, floor)]


async def voices_per_second(made: Storm, *, disruptions: int) -> float:
    before = len(made.attempts)
    if disruptions:
        await made.queue_and_disrupt(BENCH_ATTEMPTS, disruptions)
    else:
        made.queue(made.reflections(BENCH_ATTEMPTS))
    await made.recover()
    return made.bench.run(queries.throughput, {"attempts": made.attempts[before:]})[0]
