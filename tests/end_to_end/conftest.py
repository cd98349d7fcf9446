"""A whole embedded Supabase for the session, the simulated providers, and the product's own processes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from psycopg.rows import dict_row

from backend.audio.inspect import AudioInspector
from scripts.local.main_job import Client
from scripts.local.product import service_settings
from scripts.local.supabase.processes import Child, last_lines
from scripts.local.supabase.stack import Stack, running_stack
from tests.audio_samples import speech, wav
from tests.clusters import temporary_directory
from tests.documented import HOOKS
from tests.preloaded import launch
from tests.simulators import CARTESIA_KEY, ELEVENLABS_KEY, MODAL_KEY, QWEN_KEY, Simulator, simulator

SAMPLE_SECONDS = 5.5
QUICK = {
    "LEASE_SECONDS": "1",
    "PROVIDER_CREATE_SECONDS": "4.5",
    "PROVIDER_LISTING_LAG_SECONDS": "0.3",
    "ENROLLMENT_SETTLE_SECONDS": "5",
    "VISIBILITY_SECONDS": "2",
    "POLL_SECONDS": "0.5",
}
# For a create that a test holds until something else has happened, on a slow machine too.
PATIENT = {"LEASE_SECONDS": "60", "PROVIDER_CREATE_SECONDS": "30", "ENROLLMENT_SETTLE_SECONDS": "60"}
POLL_SECONDS = 0.02
LOGGED_LINES = 30
LEASES = """
select table_schema, table_name from information_schema.columns
where column_name = 'lease_expires_at' and table_schema in ('public', 'voice_clone')
"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the product and its Supabase said last stands beside a failure."""
    report = yield
    stack = item.funcargs.get("stack")
    if report.failed and isinstance(stack, Stack):
        logs = {child.log for child in stack.processes.children}
        report.sections += [(f"the end of {log.name}", last_lines(log, LOGGED_LINES)) for log in sorted(logs)]
    return report


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack() -> AsyncIterator[Stack]:
    """Durable: tests crash its Postgres."""
    with temporary_directory() as directory:
        async with running_stack(directory) as started:
            yield started


@pytest.fixture(scope="session")
def providers() -> Iterator[Simulator]:
    with simulator() as started:
        yield started


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of a recording: an inspection costs time for each second, and under 5 s it warns."""
    samples, rate = speech()
    path = tmp_path_factory.mktemp("sample") / "sample.wav"
    path.write_bytes(wav(samples[: round(SAMPLE_SECONDS * rate)], rate))
    return path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def prepared(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The prepared sample that a provider gets: 24 kHz, mono, 16-bit."""
    path = tmp_path_factory.mktemp("prepared") / "prepared.wav"
    inspector = AudioInspector()
    await inspector.inspect(sample, prepared=path)
    await inspector.aclose()
    return path.read_bytes()


class Idle:
    """The service that a test leaves behind: the next one takes it, if it asks for the same settings.

    A start costs a second of CPU time, most of it that of the audio workers.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._left: tuple[Child, str, Mapping[str, str]] | None = None

    async def take(self, settings: Mapping[str, str]) -> Child | None:
        """Its address is the stack's again."""
        left, self._left = self._left, None
        if left is None:
            return None
        child, url, asked = left
        if asked != settings or child.process.returncode is not None:
            await self._stack.processes.stop(child)
            return None
        self._stack.api_url = url
        child.skip_output()
        return child

    async def leave(self, child: Child, settings: Mapping[str, str]) -> None:
        """It is stopped where it still works for the test that ends."""
        if self._works():
            await self._stack.processes.stop(child)
        else:
            self._left = (child, self._stack.api_url, settings)

    def _works(self) -> bool:
        with psycopg.connect(self._stack.cluster.dsn(), autocommit=True) as connection:
            leases = connection.execute(LEASES).fetchall()
            return any(
                connection.execute(
                    sql.SQL("select from {} where lease_expires_at > now() limit 1").format(
                        sql.Identifier(*name)
                    )
                ).fetchone()
                for name in leases
            )


class Product:
    """The product's processes, started and killed by the test, and queries of its database."""

    def __init__(self, stack: Stack, providers: Simulator, idle: Idle) -> None:
        self.stack = stack
        self.providers = providers
        self._idle = idle
        self._children: list[Child] = []
        self._services: dict[Child, Mapping[str, str]] = {}

    async def start(self, what: str, **settings: str) -> Child:
        """`service` or `consumers`, ready to work."""
        self.stack.simulator_url = self.providers.url
        child = await self._idle.take(settings) if what == "service" else None
        child = child or await self._launch(what, settings)
        self._children.append(child)
        if what == "service":
            self._services[child] = settings
            await child.await_url(f"{self.stack.api_url}/health/ready")
        else:
            await child.await_output("listening")
        return child

    async def _launch(self, what: str, settings: Mapping[str, str]) -> Child:
        if what == "service":
            self.stack.api_url = f"http://127.0.0.1:{self.stack.ports.take()}"
        env = self.environment(**settings)
        module = "backend" if what == "service" else "queue_consumers"
        return await self.stack.processes.launch(what, launch(module, env=env))

    def environment(self, **settings: str) -> dict[str, str]:
        """The settings of the product's processes and of its commands."""
        return {
            **service_settings(self.stack, "local"),
            "QWEN_API_KEY": QWEN_KEY,
            "ELEVENLABS_API_KEY": ELEVENLABS_KEY,
            "CARTESIA_API_KEY": CARTESIA_KEY,
            "MODAL_API_KEY": MODAL_KEY,
            **QUICK,
            **settings,
        }

    async def kill(self, child: Child) -> None:
        """SIGKILL, with its workers."""
        os.killpg(child.pid, signal.SIGKILL)
        await child.process.wait()
        self.stack.processes.children.remove(child)
        self._children.remove(child)

    async def stop(self) -> None:
        while self._children:
            await self.stack.processes.stop(self._children.pop())

    async def leave(self) -> None:
        """Stop all but the service, where it is the only one."""
        services = [child for child in self._children if child in self._services]
        if len(services) == 1 and services[0].process.returncode is None:
            self._children.remove(services[0])
            await self.stop()
            await self._idle.leave(services[0], self._services[services[0]])
        await self.stop()

    def connect(self) -> psycopg.Connection[dict[str, Any]]:
        """As the superuser, autocommit."""
        return psycopg.Connection[dict[str, Any]].connect(
            self.stack.cluster.dsn(), autocommit=True, row_factory=dict_row
        )

    @contextmanager
    def timeouts(self, changed: Mapping[str, str]) -> Iterator[None]:
        """Others for the block: the stack is shared with other tests."""
        with self.connect() as connection:
            before = connection.execute("select name, value from voice_clone.timeouts").fetchall()
            set_value = "update voice_clone.timeouts set value = %s where name = %s"
            for name, value in changed.items():
                connection.execute(set_value, (value, name))
            yield
            for row in before:
                connection.execute(set_value, (row["value"], row["name"]))

    def row(self, query: str, *parameters: Any) -> dict[str, Any]:
        with self.connect() as connection:
            row = connection.execute(query.encode(), parameters).fetchone()
            assert row is not None
            return row

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.connect() as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def attempt(self, attempt_id: UUID | str) -> dict[str, Any]:
        return self.row("select * from public.voice_clone_attempts where id = %s", attempt_id)

    async def until(self, query: str, *parameters: Any, seconds: float = 120) -> dict[str, Any]:
        """Wait until the query returns a row, also while Postgres is down. TimeoutError if it never does."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    with self.connect() as connection:
                        row = connection.execute(query.encode(), parameters).fetchone()
                    if row is not None:
                        return row
                except psycopg.OperationalError:
                    pass
                await asyncio.sleep(POLL_SECONDS)


@pytest.fixture(scope="session")
def idle(stack: Stack) -> Idle:
    return Idle(stack)


@pytest_asyncio.fixture(loop_scope="session")
async def product(stack: Stack, providers: Simulator, idle: Idle) -> AsyncIterator[Product]:
    providers.reset()
    made = Product(stack, providers, idle)
    yield made
    await made.leave()


class Person:
    """A signed-up user with a reflection and a consent."""

    def __init__(self, client: Client, product: Product) -> None:
        self.client = client
        self.product = product
        self.reflection = ""
        self.consent = ""

    async def prepare(self) -> None:
        await self.client.sign_up()
        answer = await self.client.gateway(
            "POST", "/rest/v1/reflections", json={"name": "Ada"}, headers={"prefer": "return=representation"}
        )
        self.reflection = answer.json()[0]["id"]
        self.consent = (await self.client.service("POST", "/v1/consents", json={"version": 1})).json()[
            "consent_id"
        ]

    async def open(self, **changes: Any) -> dict[str, Any]:
        body = {
            "consent_id": self.consent,
            "content_type": "audio/wav",
            "bytes": 1000,
            "reflection_id": self.reflection,
            **changes,
        }
        return (await self.client.service("POST", "/api/clone/upload-url", json=body)).json()

    async def put(self, upload: dict[str, Any], content: bytes) -> None:
        path = "/storage/v1" + upload["upload_url"].partition("/storage/v1")[2]
        await self.client.gateway("PUT", path, content=content, headers={"content-type": "audio/wav"})

    async def upload(self, content: bytes, **changes: Any) -> dict[str, Any]:
        upload = await self.open(bytes=len(content), **changes)
        await self.put(upload, content)
        return upload

    async def finalize(self, upload: dict[str, Any], **changes: Any) -> httpx.Response:
        body = {"voice_id": upload["voice_id"], "name": "Ada", "language": "en", **changes}
        return await self.client.service("POST", "/api/clone/finalize", json=body)


@asynccontextmanager
async def person(product: Product) -> AsyncIterator[Person]:
    async with httpx.AsyncClient(timeout=60, trust_env=False, event_hooks=HOOKS) as http:
        made = Person(Client(product.stack, http), product)
        await made.prepare()
        yield made
