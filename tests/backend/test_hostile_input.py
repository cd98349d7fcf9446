"""Hostile input, for every route: each path parameter, query, header and text field, taken from the route table.

A route that is new is covered by itself. No answer is a 5xx, and while the requests are answered, another client
never waits long: the loop of the service is not held up by any of them.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any, get_args
from uuid import uuid4

import httpx
import msgspec
import pytest
from litestar.routes import HTTPRoute

from backend.app import create_app
from backend.settings import load_settings
from scripts.local.supabase.postgres import Cluster
from tests.backend.conftest import INTERNAL_TOKEN
from tests.backend.test_request_bounds import SAMPLE_BYTES, SECRET, Service, running, token
from tests.clusters import cloned_database
from tests.fixture import Fixture

UUID_TEXT = "11111111-1111-4111-8111-111111111111"
TEXTS = [
    "", " ", "x" * 60_000, "a" + "\u0301" * 29_000, "\u0315\u0301\u0327" * 9000, "\u1100\u1161\u11a8" * 6000,
    "a\x00b", "\x1b[2J\r\n", "\u202e\u2066", "\ufdfa" * 15_000, "eyJ" * 20_000, "\U000e0001" * 8000, "%00%ff",
    "' or 1=1 --", "../../etc", "urn:uuid:" + UUID_TEXT, "{" + UUID_TEXT + "}", "(" * 30_000, "a." * 30_000,
]  # fmt: skip
VALUES: list[Any] = [
    *TEXTS, None, True, 0, -1, 2**31, 2**63, 2**64, -(2**63), 1.5, 1e308, [], [[]], {}, {"a": {"b": {}}}, ["x"] * 5000,
    {"kind": "reflection", "id": None}, {str(n): n for n in range(3000)},
]  # fmt: skip
RAW_BODIES = [
    b"", b" ", b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b'{"\xff": 1}', b'{"name": "\xff"}', b'{"name": "\\ud800"}',
    b'{"name": "\\udc00\\ud800"}', b"[" * 60_000, b'{"a":' * 10_000, b'{"name": NaN}', b'{"bytes": 1e999}', b"-" * 60_000,
    b'{"bytes": ' + b"9" * 60_000 + b"}", b'{"name": "a", "name": "b"}', b"\xef\xbb\xbf{}", b'{"name": "a\\u0000"}',
    b"{" + b'"a":1,' * 10_000 + b'"a":1}', b"\x00" * 1000, b"x" * 70_000,
]  # fmt: skip
FORMS = [
    (b"--b\r\n", "b"), (b"", "b"), (b"--b--", "b"), (b"--b\r\ncontent-disposition: form-data\r\n\r\nx\r\n--b--", "b"),
    (b'--b\r\ncontent-disposition: form-data; name="\xff"\r\n\r\n\xff\r\n--b--\r\n', "b"), (b"x" * 5000, "b" * 200),
    (b'--b\r\ncontent-disposition: form-data; name="name"\r\n\r\nx\r\n' * 2000 + b"--b--\r\n", "b"),
    (b'--b\r\ncontent-disposition: form-data; name="name"\r\n\r\n' + b"\xcc\x81" * 29_000 + b"\r\n--b--\r\n", "b"),
    (b'--b\r\ncontent-disposition: form-data; name="sample"; filename="\x00"\r\n\r\nx\r\n--b--\r\n', "b"), (b"--\r\n", ""),
]  # fmt: skip
SEGMENTS = [
    "%00", "%ff", "%ed%a0%80", "..", "%2e%2e%2f", "x" * 1500, "%0d%0a", "urn:uuid:" + UUID_TEXT, UUID_TEXT.upper(),
    "{" + UUID_TEXT + "}", "-1", "9" * 400, "%cc%81" * 250, "*", "%", "%zz", "\u00ff",
]  # fmt: skip
HEADERS = ["authorization", "content-type", "idempotency-key", "last-event-id", "x-request-id", "accept", "cookie", "origin",
           "accept-encoding", "range", "if-match", "content-length", "access-control-request-method"]  # fmt: skip
HEADER_VALUES = [
    b"", b"x" * 20_000, b"\xff\xfe", b"Bearer " + b"eyJ" * 2000, b"Bearer \xff", b"application/json; " + b"a=b; " * 50,
    b"multipart/form-data; boundary=" + b'"\\' * 100, b"multipart/form-data", b"a/b;" + b" " * 240, b"," * 5000,
    b"9" * 19, b"-1", b"application/x-www-form-urlencoded", b"application/msgpack", b"text/plain",
]  # fmt: skip
SLOWEST = 5.0  # seconds: generous, for a machine that runs other tests; what is quadratic here takes minutes
AT_ONCE = 16


@pytest.fixture(scope="module")
def given(cluster: Cluster) -> Iterator[Fixture]:
    with cloned_database(cluster) as database, closing(Fixture(database)) as made:
        yield made


@pytest.fixture(scope="module")
async def service(given: Fixture, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    unlimited = {f"RATE_LIMIT_{name}": "0" for name in ("REQUESTS", "UPLOADS", "FINALIZATIONS", "PREVIEWS", "SPEECH")}
    logs = tmp_path_factory.mktemp("hostile")
    async with running(logs, given.database.service, REQUEST_TIMEOUT_SECONDS="30", **unlimited) as started:
        yield started


class Route(msgspec.Struct, frozen=True):
    method: str
    path: str
    body: Any  # the struct of its JSON, if it has one

    def address(self, reflection: str, parameter: str | None = None) -> str:
        """With an own reflection, or with the same hostile text for each parameter."""

        def value(found: re.Match[str]) -> str:
            if parameter is not None:
                return parameter
            return reflection if found[1] == "reflection_id" else UUID_TEXT

        return re.sub(r"\{(\w+):\w+\}", value, self.path)


def routes() -> list[Route]:
    settings = load_settings({
        "DATABASE_URL": "postgresql://voice_clone_service:secret@127.0.0.1/postgres",
        "SUPABASE_URL": "https://project.supabase.co",
        "SUPABASE_SECRET_KEY": "sb_secret_0123456789",
        "SUPABASE_JWT_SECRET": SECRET,
        "INTERNAL_TOKEN": INTERNAL_TOKEN,
    })  # fmt: skip
    found = []
    for route in create_app(settings).routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                field = handler.parsed_fn_signature.parameters.get("data")
                body = field.annotation if field else None
                found += [
                    Route(method, route.path, body) for method in handler.http_methods if method != "OPTIONS"
                ]
    return found


def fields(kind: Any) -> dict[str, Any]:
    """A valid value for each field of a request's struct."""
    kind = next((each for each in (kind, *get_args(kind)) if hasattr(each, "__struct_fields__")), None)
    if kind is None:
        return {}
    return {field.encode_name: valid(field.encode_name, field.type) for field in msgspec.structs.fields(kind)}


def valid(name: str, kind: Any) -> Any:
    if name.endswith("_id"):
        return UUID_TEXT
    known = {"language": "en", "content_type": "audio/wav", "bytes": 9, "format": "wav", "locale": "en", "provider": "local"}
    if name in known:
        return known[name]
    return {"kind": "self"} if name == "subject" else "x" if str in (kind, *get_args(kind)) else 1


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
            base_url=f"http://127.0.0.1:{service.port}", trust_env=False, timeout=60, follow_redirects=False
        )

    async def __aenter__(self) -> "Attack":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def send(
        self, route: Route, what: str, address: str, *, content: bytes | None = None, **headers: bytes | str
    ) -> None:
        bearer = INTERNAL_TOKEN if route.path.startswith("/internal") else self.user
        given = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._gate:
            self.sent += 1
            try:
                async with self._http.stream(route.method, address, content=content, headers=given) as answer:
                    status, text = answer.status_code, "" if answer.is_success else (await answer.aread())[:200].decode()
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.LocalProtocolError, httpx.InvalidURL):
                return  # the server closed the connection, or the client does not send this at all
        if status >= 500 and not away(text):
            self.wrong.append((f"{route.method} {route.path}", what, status, text))


def away(text: str) -> bool:
    """Supabase is not there in this test: what reaches it may say so, and nothing else."""
    return any(f'"{code}"' in text for code in ("storage_unavailable", "unavailable_reason"))


async def attack(attack: Attack, route: Route) -> None:
    own = route.address(attack.reflection)
    calls = []
    for text in SEGMENTS:
        if "{" in route.path:
            calls.append(attack.send(route, f"path {text[:20]!r}", route.address("", text)))
        calls += [attack.send(route, f"query {name}={text[:20]!r}", f"{own}?{name}={text}") for name in ("limit", "x")]
    for name in HEADERS:
        calls += [attack.send(route, f"header {name}: {value[:20]!r}", own, **{name: value}) for value in HEADER_VALUES]
    if route.method not in {"GET", "HEAD"}:
        calls += [attack.send(route, f"body {body[:20]!r}", own, content=body) for body in RAW_BODIES]
        for form, boundary in FORMS:
            kind = f"multipart/form-data; boundary={boundary}"
            calls.append(attack.send(route, f"form {form[:40]!r}", own, content=form, content_type=kind))
            calls.append(
                attack.send(route, f"keyed form {form[:40]!r}", own, content=form, content_type=kind, idempotency_key="k")
            )
        usual = CLONE_FIELDS if route.path.endswith("/clone") else fields(route.body)
        for name in usual:
            for value in VALUES:
                body = json.dumps({**usual, name: value}).encode()
                calls.append(attack.send(route, f"{name}: {str(value)[:20]!r}", own, content=body))
                key = uuid4().hex
                calls.append(
                    attack.send(route, f"keyed {name}: {str(value)[:20]!r}", own, content=body, idempotency_key=key)
                )
    await asyncio.gather(*calls)


async def slowest_answer(service: Service, until: asyncio.Event) -> float:
    """The longest that another client waited for an answer that needs nothing but the loop."""
    slowest = 0.0
    async with httpx.AsyncClient(trust_env=False, timeout=120) as http:
        while not until.is_set():
            began = time.monotonic()
            await http.get(f"http://127.0.0.1:{service.port}/health/live")
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.005)
    return slowest


async def test_hostile_input_is_refused_and_holds_up_no_one(service: Service, given: Fixture) -> None:
    user = given.user()
    reflection = str(given.reflection(user))
    done = asyncio.Event()
    watching = asyncio.create_task(slowest_answer(service, done))
    async with Attack(service, str(user), reflection) as sender:
        for route in routes():
            if not route.path.endswith("/events"):
                await attack(sender, route)
    done.set()
    assert await watching < SLOWEST
    assert sender.wrong == []
    assert sender.sent > 5000
    failures = [line for line in service.child.output().splitlines() if "response_interrupted" in line]
    assert failures == []


def test_the_form_of_a_sample_may_be_as_large_as_a_sample() -> None:
    assert SAMPLE_BYTES > len(max(RAW_BODIES, key=len))
    assert len({(route.method, route.path) for route in routes()}) == len(routes()) > 25
