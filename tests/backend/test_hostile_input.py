"""Hostile input: each path parameter, query, header and text field of every route that the app has.

A new route is covered by itself. No answer is a 5xx. Meanwhile another client never waits long: no request
holds up the loop of the service.
"""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import httpx
import pytest

from scripts.local.supabase.postgres import Cluster
from tests.backend.conftest import INTERNAL_TOKEN
from tests.backend.hostile_values import (
    FORMS,
    HEADER_VALUES,
    HEADERS,
    RAW_BODIES,
    SEGMENTS,
    VALUES,
)
from tests.backend.test_request_bounds import SAMPLE_BYTES, Service, running, token
from tests.clusters import cloned_database
from tests.fixture import Fixture
from tests.routes import UUID_TEXT, Route, fields, routes

SLOWEST = 5.0  # seconds: generous, for a machine that runs other tests; what is quadratic here takes minutes
AT_ONCE = 16


@pytest.fixture(scope="module")
def given(cluster: Cluster) -> Iterator[Fixture]:
    with cloned_database(cluster) as database, closing(Fixture(database)) as made:
        yield made


@pytest.fixture(scope="module")
async def service(given: Fixture, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    unlimited = {
        f"RATE_LIMIT_{name}": "0" for name in ("REQUESTS", "UPLOADS", "FINALIZATIONS", "PREVIEWS", "SPEECH")
    }
    logs = tmp_path_factory.mktemp("hostile")
    async with running(logs, given.database.service, REQUEST_TIMEOUT_SECONDS="30", **unlimited) as started:
        yield started


CLONE_FIELDS = {"sample_id": UUID_TEXT, "name": "x", "provider": "local"}


class Attack:
    """Sends everything, a bounded number at once, and keeps what was answered with a 5xx."""

    def __init__(self, service: Service, user: str, reflection: str) -> None:
        self.service = service
        self.user = token(sub=user)
        self.reflection = reflection
        self.sent = 0
        self.wrong: list[tuple[str, str, int, str]] = []
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{service.port}", trust_env=False, timeout=20, follow_redirects=False
        )

    async def __aenter__(self) -> "Attack":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def send(
        self, route: Route, what: str, address: str, *, content: bytes | None = None, **headers: bytes | str
    ) -> None:
        bearer = INTERNAL_TOKEN if route.path.startswith("/internal") else self.user
        given: dict[str, Any] = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._gate:
            self.sent += 1
            try:
                async with self._http.stream(route.method, address, content=content, headers=given) as answer:
                    status, text = (
                        answer.status_code,
                        "" if answer.is_success else (await answer.aread())[:200].decode(),
                    )
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.LocalProtocolError, httpx.InvalidURL):
                return  # the server closed the connection, or the client does not send this at all
            except httpx.TimeoutException:
                status, text = 504, "no answer"
        if status >= 500 and not away(text):
            self.wrong.append((f"{route.method} {route.path}", what, status, text))


def away(text: str) -> bool:
    """Supabase Storage is not there in this test. What needs it may say so, and nothing else."""
    return '"storage_unavailable"' in text or '"storage":"unreachable"' in text


turn = itertools.count()


def some(values: list[Any], count: int) -> list[Any]:
    """The next ones, in turn: each is sent to several routes, and each route gets several."""
    return [values[next(turn) % len(values)] for _ in range(count)]


async def attack(attack: Attack, route: Route) -> None:
    own = route.address(attack.reflection)
    calls = []
    if "{" in route.path:
        calls += [attack.send(route, f"path {text[:20]!r}", route.address("", text)) for text in SEGMENTS]
    for name in {*route.queries, "limit", "x"}:
        calls += [
            attack.send(route, f"query {name}={text[:20]!r}", f"{own}?{name}={text}")
            for text in some(SEGMENTS, 6)
        ]
    for name in {*route.headers, *HEADERS}:
        calls += [
            attack.send(route, f"header {name}: {value[:20]!r}", own, **{name.lower(): value})
            for value in some(HEADER_VALUES, 2)
        ]
    if route.method not in {"GET", "HEAD"}:
        calls += bodies(attack, route, own)
    await asyncio.gather(*calls)


def bodies(attack: Attack, route: Route, own: str) -> Iterator[Coroutine[Any, Any, None]]:
    for body in RAW_BODIES:
        yield attack.send(route, f"body {body[:20]!r}", own, content=body)
    for form, boundary in FORMS:
        kind = f"multipart/form-data; boundary={boundary}"
        key = {"idempotency_key": uuid4().hex} if next(turn) % 2 else {}
        yield attack.send(route, f"form {form[:40]!r}", own, content=form, content_type=kind, **key)
    usual = CLONE_FIELDS if route.path.endswith("/clone") else fields(route.body)
    for name in usual:
        for value in VALUES:
            body = json.dumps({**usual, name: value}).encode()
            key = {"idempotency_key": uuid4().hex} if next(turn) % 3 == 0 else {}
            yield attack.send(route, f"{name}: {str(value)[:20]!r}", own, content=body, **key)


async def slowest_answer(service: Service, until: asyncio.Event) -> float:
    """The longest that another client waited for an answer that needs nothing but the loop."""
    slowest = 0.0
    async with httpx.AsyncClient(trust_env=False, timeout=120) as http:
        while not until.is_set():
            began = time.monotonic()
            await http.get(f"http://127.0.0.1:{service.port}/health/live")
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.05)
    return slowest


async def test_hostile_input_is_refused_and_holds_up_no_one(service: Service, given: Fixture) -> None:
    user = given.user()
    reflection = str(given.reflection(user))
    done = asyncio.Event()
    watching = asyncio.create_task(slowest_answer(service, done))
    try:
        async with Attack(service, str(user), reflection) as sender:
            for route in routes():
                await attack(sender, route)
    finally:
        done.set()
    assert await watching < SLOWEST
    assert sender.wrong == []
    assert sender.sent > 3000
    failures = [line for line in service.child.output().splitlines() if "response_interrupted" in line]
    assert failures == []


def test_the_form_of_a_sample_may_be_as_large_as_a_sample() -> None:
    assert len(max(RAW_BODIES, key=len)) < SAMPLE_BYTES
    assert len({(route.method, route.path) for route in routes()}) == len(routes()) > 25
