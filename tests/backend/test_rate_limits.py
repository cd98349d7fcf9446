"""Rate limits: what is allowed, what is answered after that, in one process and over all of them."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from backend.app.service import ROUTES
from backend.web.rate_limits import LocalUses, Policy
from scripts.local.supabase.postgres import Cluster
from tests.backend.test_request_bounds import Service, running, token
from tests.clusters import cloned_database
from tests.fixture import Fixture

LIMIT = 3
SETTINGS = {
    "RATE_LIMIT_REQUESTS": str(LIMIT),
    "RATE_LIMIT_UPLOADS": str(LIMIT),
    "RATE_LIMIT_PREVIEWS": str(LIMIT),
    "RATE_LIMIT_SPEECH": "0",
    "SPEECH_CHARACTERS_PER_DAY": "100",
    "RATE_LIMIT_REFUSALS": str(LIMIT),
    "CLIENT_ADDRESS": "x-real-ip",
    "REQUEST_TIMEOUT_SECONDS": "10",
}
UPLOAD = "/api/clone/upload-url"


@pytest.fixture(scope="module")
def given(cluster: Cluster) -> Iterator[Fixture]:
    with cloned_database(cluster) as database, closing(Fixture(database)) as made:
        yield made


@pytest.fixture(scope="module")
async def two(given: Fixture, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Service]]:
    """Two services on one database."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                running(tmp_path_factory.mktemp(f"limits-{number}"), given.database.service, **SETTINGS)
            )
            for number in range(2)
        ]


async def call(service: Service, method: str, path: str, user: UUID | None, **more: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {token(sub=str(user)) if user else 'refused'}"}
    headers |= more.pop("headers", {})  # type: ignore[arg-type]
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        return await http.request(
            method,
            f"http://127.0.0.1:{service.port}{path}",
            headers=headers,
            **more,  # type: ignore[arg-type]
        )


def refused(answer: httpx.Response, policy: str) -> None:
    assert answer.status_code == 429, answer.text
    assert (answer.json()["code"], answer.json()["policy"]) == ("rate_limited", policy)
    assert int(answer.headers["retry-after"]) >= 1


async def test_each_answer_says_what_is_left_until_none_is(two: list[Service], given: Fixture) -> None:
    user = given.user()
    for left in reversed(range(LIMIT)):
        answer = await call(two[0], "GET", "/api/voices", user)
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == f'"requests";q={LIMIT};w=60'
        assert re.fullmatch(rf'"requests";r={left};t=\d+', answer.headers["ratelimit"])
    answer = await call(two[0], "GET", "/api/voices", user)
    refused(answer, "requests")
    assert answer.headers["ratelimit"].startswith('"requests";r=0;t=')
    assert (await call(two[0], "GET", "/api/voices", given.user())).status_code == 200, "another user's"
    assert (await call(two[0], "GET", "/health/live", user)).status_code == 200


async def test_what_costs_money_is_counted_over_all_processes(two: list[Service], given: Fixture) -> None:
    user = given.user()
    body = {"consent_id": str(uuid4()), "content_type": "audio/wav", "bytes": 9}
    for service in (two[0], two[1], two[0]):
        assert (await call(service, "POST", UPLOAD, user, json=body)).status_code != 429
    for service in two:
        refused(await call(service, "POST", UPLOAD, user, json=body), "uploads")
    keyed = {"headers": {"idempotency-key": "k"}, "json": body}
    refused(await call(two[1], "POST", UPLOAD, user, **keyed), "uploads")


async def test_a_call_with_a_key_is_counted_once(two: list[Service], given: Fixture) -> None:
    user, path = given.user(), f"/v1/reflections/{uuid4()}/voice/preview"
    answer = await call(two[0], "POST", path, user, headers={"idempotency-key": "k"})
    assert answer.headers["ratelimit"].startswith(f'"previews";r={LIMIT - 1};')


async def test_of_calls_at_once_no_more_are_allowed_than_the_limit(
    two: list[Service], given: Fixture
) -> None:
    user, path = given.user(), f"/v1/reflections/{uuid4()}/voice/retry"
    answers = await asyncio.gather(*(call(two[n % 2], "POST", path, user) for n in range(4 * LIMIT)))
    assert sum(answer.status_code != 429 for answer in answers) == LIMIT


async def test_the_characters_of_a_day_are_limited(two: list[Service], given: Fixture) -> None:
    user = given.user()
    reflection = given.reflection(user)
    voice = given.attempt(given.launchable(user, reflection))["voice_id"]

    async def speak(text: str) -> httpx.Response:
        return await call(two[0], "POST", "/api/generate", user, json={"voice_id": str(voice), "text": text})

    assert (await speak("x" * 60)).status_code != 429
    refused(await speak("x" * 60), "characters")
    assert (await speak("x" * 30)).status_code != 429, "a refused text uses nothing"
    refused(await speak("x" * 5000), "characters")


async def test_an_address_with_many_refused_tokens_waits(two: list[Service], given: Fixture) -> None:
    here, there = ({"headers": {"x-real-ip": address}} for address in ("192.0.2.1", "192.0.2.2"))
    for path, method in (("/api/voices", "GET"), ("/internal/sweep", "POST"), ("/v1/consents", "POST")):
        assert (await call(two[0], method, path, None, **here)).status_code == 401
    refused(await call(two[0], "GET", "/api/voices", None, **here), "refusals")
    assert (await call(two[0], "GET", "/api/voices", None, **there)).status_code == 401
    assert (await call(two[0], "GET", "/api/voices", None)).status_code == 401, "no address is known"


async def test_a_user_who_was_deleted_uses_nothing(two: list[Service], given: Fixture) -> None:
    answer = await call(two[0], "POST", UPLOAD, uuid4(), json={})
    assert (answer.status_code, answer.json()["code"]) == (401, "user_gone")


def test_an_allowance_comes_back_evenly() -> None:
    now = 0.0
    uses, policy = LocalUses(lambda: now), Policy("requests", 6, 60)
    assert [uses.use("ada", policy).is_allowed for _ in range(7)] == [True] * 6 + [False]
    now = 10.0
    assert [uses.use("ada", policy).is_allowed for _ in range(2)] == [True, False]
    now = 1000.0
    assert [uses.use("ada", policy).is_allowed for _ in range(7)] == [True] * 6 + [False]


def test_a_process_remembers_a_bounded_number_of_users() -> None:
    uses, policy = LocalUses(most=100), Policy("requests", 6, 60)
    for number in range(1000):
        uses.use(number, policy)
    assert len(uses._used_until) == 100  # noqa: SLF001


def test_the_database_counts_as_a_process_does(given: Fixture) -> None:
    user, policy, clock = given.user(), Policy("p", 5, 1e9), 0.0
    uses = LocalUses(lambda: clock)
    sql = "select * from voice_clone.use_rate_limit(%s, 'p', 5, 1e9, %s)"
    for cost in (1, 2, 6, 3, 2, 1):
        row = given.one(sql, user, cost)
        use = uses.use("ada", policy, cost)
        assert row["is_allowed"] == use.is_allowed
        assert row["used"] == pytest.approx(use.used, abs=1e-3)


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_a_client_reads_no_limits(given: Fixture, role: str) -> None:
    with psycopg.connect(given.database.superuser) as connection:
        connection.execute(f"set role {role}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from voice_clone.rate_limits")


def test_each_route_that_costs_money_has_a_shared_policy() -> None:
    policies = {
        handler.fn.__name__: handler.opt.get("rate_limit")
        for controller in ROUTES
        if isinstance(controller, type)
        for handler in vars(controller).values()
        if hasattr(handler, "opt")
    }
    assert {name for name, policy in policies.items() if policy} == {
        "open_upload", "finalize_upload", "clone_reflection_voice", "clone_employee_voice", "move_voice",
        "retry_reflection_voice", "retry_employee_voice", "move_employee_voice", "use_custom_voice",
        "request_preview", "request_employee_preview", "generate_speech", "request_speech", "retry_speech",
        "send_sample", "open_challenge", "sign_spoken_consent",
    }  # fmt: skip
