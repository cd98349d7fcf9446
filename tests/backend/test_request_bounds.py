"""Bounds of a request, over sockets: too long, too slow, too large; and what a stop does not wait for."""

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import jwt
import pytest

from backend.app.server import DRAIN_SECONDS
from scripts.local.supabase.ports import free_port
from scripts.local.supabase.postgres import Cluster
from scripts.local.supabase.processes import Child, Processes
from tests.backend.conftest import INTERNAL_TOKEN, NOBODY
from tests.backend.test_event_streams import LARGE_EVENTS, record_large_events
from tests.clusters import cloned_database
from tests.fixture import Fixture
from tests.preloaded import launch

SECRET = "a secret of more than thirty-two letters"
PAUSE = 1.0  # seconds: REQUEST_TIMEOUT_SECONDS of these tests
PATIENCE = 60  # seconds until a test fails that waits for the service
SAMPLE_BYTES = 1_000_000


class Service:
    """`python -m backend` on a port of its own."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.port = port

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port))
        made.settimeout(PATIENCE)
        return made

    @contextmanager
    def sending(self, data: bytes) -> Iterator[socket.socket]:
        with closing(self.connect()) as made:
            made.sendall(data)
            yield made

    def exchange(self, data: bytes) -> bytes:
        """What is answered until the service closes the connection."""
        with self.sending(data) as made:
            return read_all(made)

    def stop(self) -> None:
        os.kill(self.child.pid, signal.SIGTERM)


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    return received


def token(**changes: object) -> str:
    claims = {
        "sub": str(uuid4()),
        "role": "authenticated",
        "aud": "authenticated",
        "iss": f"{NOBODY}/auth/v1",
        "exp": int(time.time()) + 600,
    }
    return jwt.encode({**claims, **changes}, SECRET)


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: x", *headers, "", ""]).encode()


def post(path: str, *headers: str, user: str | None = None) -> bytes:
    return head("POST", path, f"authorization: Bearer {user or token()}", *headers)


@asynccontextmanager
async def running(logs: Path, database_url: str, **settings: str) -> AsyncIterator[Service]:
    port = free_port()
    env = {
        "DATABASE_URL": database_url,
        "SUPABASE_URL": NOBODY,
        "SUPABASE_SECRET_KEY": "sb_secret_of_this_very_test",
        "SUPABASE_JWT_SECRET": SECRET,
        "SUPABASE_JWKS_URL": "off",
        "INTERNAL_TOKEN": INTERNAL_TOKEN,
        "MAX_SAMPLE_BYTES": str(SAMPLE_BYTES),
        "REQUEST_TIMEOUT_SECONDS": str(PAUSE),
        "PORT": str(port),
        **settings,
    }
    processes = Processes(logs)
    child = await processes.launch("service", launch("backend", env=env))
    try:
        await child.await_url(f"http://127.0.0.1:{port}/health/live")
        yield Service(child, port)
    finally:
        await processes.stop_all()


@pytest.fixture(scope="module")
def given(cluster: Cluster) -> Iterator[Fixture]:
    with cloned_database(cluster) as database, closing(Fixture(database)) as made:
        yield made


@pytest.fixture(scope="module")
async def service(given: Fixture, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    async with running(tmp_path_factory.mktemp("bounds"), given.database.service) as started:
        yield started


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1.1 (\d+)", answer)
    return int(found[1]) if found else 0


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", head("GET", "/health/live")[:-2], head("GET", "/health/live")],
    ids=["nothing", "half a line", "half a head", "a request and then nothing"],
)
async def test_a_connection_that_sends_nothing_more_is_closed(service: Service, sent: bytes) -> None:
    await asyncio.to_thread(service.exchange, sent)


@pytest.mark.parametrize("length", ["content-length: 100", "transfer-encoding: chunked"])
async def test_a_body_that_stops_is_answered_and_closed(service: Service, length: str) -> None:
    begun = b"3\r\n{  \r\n" if "chunked" in length else b"{  "
    answer = await asyncio.to_thread(service.exchange, post("/v1/consents", length) + begun)
    assert status(answer) == 408
    assert b'"request_timeout"' in answer


async def test_a_body_that_comes_drop_by_drop_is_refused(service: Service) -> None:
    def drip() -> bytes:
        with service.sending(post("/v1/consents", "content-length: 60000")) as made:
            made.settimeout(PAUSE / 10)
            while True:
                made.sendall(b" ")
                try:
                    return made.recv(65_536)
                except TimeoutError:
                    continue

    async with asyncio.timeout(PATIENCE):
        assert status(await asyncio.to_thread(drip)) == 408


async def test_http2_without_tls_is_off(service: Service) -> None:
    answer = await asyncio.to_thread(service.exchange, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    assert status(answer) in {0, 400}


@pytest.mark.parametrize(
    ("request_head", "expected"),
    [
        (head("A" * 4000, "/health/live"), 405),
        (head("eyJ", "/health/live"), 405),
        (head("GET", "/" + "a" * 4000), 414),
        (head("GET", "/health/live?" + "a" * 4000), 414),
        (head("POST", "/v1/consents", f"content-type: {'a' * 300}", "content-length: 2"), 415),
        (head("GET", "/health/live", f"x-padding: {'a' * 500_000}"), 431),
    ],
    ids=["method", "unknown method", "path", "query", "content type", "head"],
)
async def test_a_head_that_no_one_needs_is_refused_and_not_logged(
    service: Service, request_head: bytes, expected: int
) -> None:
    lines = len(service.child.output().splitlines())
    answer = await asyncio.to_thread(service.exchange, request_head)
    assert status(answer) == expected
    assert len(service.child.output().splitlines()) == lines


JSON = "content-type: application/json"
FORM = "content-type: multipart/form-data; boundary=b"
CLONE = f"/v1/reflections/{uuid4()}/voice/clone"


@pytest.mark.parametrize("length", ["content-length: {}", "transfer-encoding: chunked"])
@pytest.mark.parametrize(
    ("path", "kind", "size"),
    [
        ("/v1/consents", JSON, 70_000),
        ("/v1/consents", FORM, 70_000),
        ("/api/clone/finalize", JSON, 5_000_000),
        ("/api/generate", JSON, 5_000_000),
        ("/internal/sweep", JSON, 70_000),
    ],
)
async def test_a_body_over_the_limit_of_its_route_is_refused_and_its_sender_sees_that(
    service: Service, given: Fixture, path: str, kind: str, size: int, length: str
) -> None:
    user = INTERNAL_TOKEN if path.startswith("/internal") else token(sub=str(given.user()))
    body = b" " * size
    if "chunked" in length:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    request_head = post(path, kind, length.format(size), "connection: close", user=user)
    answer = await asyncio.to_thread(service.exchange, request_head + body)
    assert status(answer) == 413
    assert b'"body_too_large"' in answer


async def test_a_key_makes_no_body_larger(service: Service, given: Fixture) -> None:
    user = token(sub=str(given.user()))
    headers = ("content-length: 200000", "idempotency-key: k", "connection: close")
    request_head = post(CLONE, JSON, *headers, user=user)
    assert status(await asyncio.to_thread(service.exchange, request_head + b" " * 200_000)) == 413


async def test_a_body_without_a_token_is_refused_before_it_is_read_and_its_sender_sees_that(
    service: Service,
) -> None:
    url = f"http://127.0.0.1:{service.port}"
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE) as http:
        answers = await asyncio.gather(
            *(http.post(CLONE, files={"sample": b"x" * SAMPLE_BYTES}) for _ in range(90))
        )
    assert {answer.status_code for answer in answers} == {401}


async def test_a_client_that_waits_for_permission_is_refused_without_it(service: Service) -> None:
    request_head = head("POST", CLONE, FORM, "content-length: 900000", "expect: 100-continue")
    answer = await asyncio.to_thread(service.exchange, request_head)
    assert status(answer) == 401


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "k"}], ids=["plain", "with a key"])
async def test_a_token_of_a_user_who_was_deleted_is_refused(
    service: Service, headers: dict[str, str]
) -> None:
    headers = {**headers, "authorization": f"Bearer {token()}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", trust_env=False) as http:
        answer = await http.post("/v1/consents", headers=headers, json={"version": 1})
    assert (answer.status_code, answer.json()["code"]) == (401, "user_gone")


async def test_a_form_with_a_key_is_refused_where_json_is_read(service: Service, given: Fixture) -> None:
    """The form was read as one, and then waited for again."""
    form = b'--b\r\ncontent-disposition: form-data; name="name"\r\n\r\nx\r\n--b--\r\n'
    lines = [FORM, f"content-length: {len(form)}", "idempotency-key: form", "connection: close"]
    request_head = post("/v1/consents", *lines, user=token(sub=str(given.user())))
    answer = await asyncio.to_thread(service.exchange, request_head + form)
    assert status(answer) == 400


async def test_options_lists_every_method_of_an_address_without_a_token(service: Service) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", trust_env=False) as http:
        allowed = {
            path: (await http.options(path)).headers.get("allow")
            for path in (f"/v1/reflections/{uuid4()}/voice", f"/api/voices/{uuid4()}", "/health/live")
        }
        assert [*allowed.values()] == ["GET, OPTIONS, PATCH", "DELETE, GET, OPTIONS", "GET, OPTIONS"]
        assert (await http.options("/nowhere")).status_code == 404


@pytest.mark.parametrize("path", ["/health/live", "/nowhere", "/api/voices", "/schema/openapi.json"])
async def test_an_answer_is_not_cached_not_guessed_and_names_no_server(service: Service, path: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", trust_env=False) as http:
        headers = (await http.get(path)).headers
    # The document may be kept, and is asked for again by its tag.
    assert headers["cache-control"] == ("no-cache" if path.startswith("/schema") else "no-store")
    assert headers["x-content-type-options"] == "nosniff"
    assert not headers.get("server")


# A stop that waited for a client would take until its worker is killed.


async def stop(started: Service) -> float:
    """Once it serves; the seconds until it has ended."""
    await answered(started)
    began = time.monotonic()
    started.stop()
    async with asyncio.timeout(PATIENCE):
        await started.child.process.wait()
    return time.monotonic() - began


async def test_bodies_that_stopped_do_not_delay_a_stop(given: Fixture, tmp_path: Path) -> None:
    async with running(tmp_path, given.database.service, REQUEST_TIMEOUT_SECONDS="600") as started:
        stalled = [started.connect() for _ in range(50)]
        for number, each in enumerate(stalled):
            path = "/v1/consents" if number % 2 else CLONE
            each.sendall(post(path, FORM if path == CLONE else JSON, "content-length: 100") + b"--b")
        stalled.append(started.connect())
        assert await stop(started) < DRAIN_SECONDS / 2
        for each in stalled:
            each.close()


async def test_half_a_head_does_not_delay_a_stop(given: Fixture, tmp_path: Path) -> None:
    async with running(tmp_path, given.database.service, REQUEST_TIMEOUT_SECONDS="600") as started:
        stalled = [started.connect() for _ in range(3)]
        for each, sent in zip(stalled, (b"", b"GET / HT", head("GET", "/health/live")[:-2]), strict=True):
            each.sendall(sent)
        assert await stop(started) < DRAIN_SECONDS / 3
        for each in stalled:
            each.close()


async def test_an_event_stream_that_is_not_read_does_not_delay_a_stop(given: Fixture, tmp_path: Path) -> None:
    user = given.user()
    attempt = given.queued(user, given.reflection(user))
    record_large_events(given, attempt, LARGE_EVENTS)
    async with running(tmp_path, given.database.service, STREAM_HEARTBEAT_SECONDS="600") as started:
        stalled = started.connect()
        path = f"/v1/voice-clone-attempts/{attempt}/events"
        bearer = f"authorization: Bearer {token(sub=str(user))}"
        stalled.sendall(head("GET", path, bearer))
        assert await asyncio.to_thread(stalled.recv, 12) == b"HTTP/1.1 200"
        assert await stop(started) < DRAIN_SECONDS / 2
        stalled.close()


@pytest.mark.long
async def test_a_worker_that_died_is_replaced(given: Fixture, tmp_path: Path) -> None:
    async with running(tmp_path, given.database.service, WORKERS="2") as started:
        before = workers(started)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            while not (len(workers(started)) == 2 and before[0] not in workers(started)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await answered(started)


async def answered(started: Service) -> None:
    """Also while a worker that listens already, or not yet, is the only one."""
    url = f"http://127.0.0.1:{started.port}/health/live"
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http, asyncio.timeout(PATIENCE):
        while True:
            try:
                assert (await http.get(url)).status_code == 200
                return
            except httpx.TransportError:
                await asyncio.sleep(0.05)


def workers(started: Service) -> list[int]:
    """The server's children that are alive."""
    pid = started.child.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if "State:\tZ" not in Path(f"/proc/{child}/status").read_text()]
