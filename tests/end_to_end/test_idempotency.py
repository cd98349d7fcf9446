"""Idempotency-Key over HTTP: the same call again gives the same answer and creates nothing twice."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, LiteralString
from uuid import uuid4

import httpx
import psycopg
import pytest
import pytest_asyncio

from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_bad_input import problem

# Delays the call that stores a response, between the work's commit and the answer's.
HOLD = """
    create function public.hold_answer() returns trigger language plpgsql set search_path = '' as
      'begin perform pg_advisory_xact_lock_shared(4711); return new; end';
    create trigger hold_answer before update on voice_clone.idempotency_keys
      for each row when (new.status is not null) execute function public.hold_answer();
"""
# The killed service's statement would still be carried out.
LOSE_WHAT_WAITS: LiteralString = """
    select pg_terminate_backend(pid, 10000) from pg_locks where locktype = 'advisory' and not granted
"""
RELEASE = "drop trigger hold_answer on voice_clone.idempotency_keys; drop function public.hold_answer()"


@pytest_asyncio.fixture(loop_scope="session")
async def ada(product: Product) -> AsyncIterator[Person]:
    await product.start("service")
    async with person(product) as made:
        yield made


@pytest.fixture
def held_back(product: Product) -> Iterator[psycopg.Connection[Any]]:
    """No response can be stored while this connection is open."""
    with product.connect() as connection:
        connection.execute(HOLD.encode())
        connection.execute("select pg_advisory_lock(4711)")
        yield connection
    with product.connect() as connection:
        connection.execute(RELEASE.encode())


@pytest.fixture
def no_lease(product: Product) -> Iterator[None]:
    """Another call can take over a key at once."""
    change = "update voice_clone.timeouts set value = %s where name = 'idempotency_lease'"
    with product.connect() as connection:
        connection.execute(change.encode(), ("0",))
        yield
        connection.execute(change.encode(), ("6 s",))


def new_key() -> str:
    return str(uuid4())


async def post(ada: Person, path: str, key: str, **more: Any) -> httpx.Response:
    headers = {**ada.client.headers, "idempotency-key": key}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        return await http.post(ada.product.stack.api_url + path, headers=headers, **more)


def upload_call(ada: Person) -> dict[str, Any]:
    body = {"consent_id": ada.consent, "content_type": "audio/wav", "bytes": 1000}
    return {"path": "/api/clone/upload-url", "json": body}


def clone_call(ada: Person, content: bytes, **fields: str) -> dict[str, Any]:
    return {
        "path": f"/v1/reflections/{ada.reflection}/voice/clone",
        "data": {"consent_id": ada.consent, "name": "Ada", "language": "en", **fields},
        "files": {"sample": ("sample.wav", content, "audio/wav")},
    }


CONSENT: dict[str, Any] = {"path": "/v1/consents", "json": {"version": 1}}


def rows(ada: Person, table: str) -> int:
    """How many consents or attempts Ada has."""
    count = """
        select (select count(*) from public.voice_consents c where c.user_id = r.user_id) as consents,
          (select count(*) from public.voice_clone_attempts a where a.user_id = r.user_id) as attempts
        from public.reflections r where r.id = %s
    """
    return ada.product.row(count, ada.reflection)[table]


def assert_replayed(first: httpx.Response, again: httpx.Response) -> None:
    assert first.is_success, first.text
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]


@pytest.mark.parametrize(("route", "table"), [("consent", "consents"), ("upload", "attempts")])
async def test_the_same_call_again_gets_the_first_answer(ada: Person, route: str, table: str) -> None:
    call = CONSENT if route == "consent" else upload_call(ada)
    before, key = rows(ada, table), new_key()
    first = await post(ada, key=key, **call)
    assert_replayed(first, await post(ada, key=key, **call))
    assert rows(ada, table) == before + 1
    await post(ada, key=new_key(), **call)
    assert rows(ada, table) == before + 2


async def test_a_form_is_the_same_whatever_its_boundary(ada: Person, prepared: bytes) -> None:
    key = new_key()
    first = await post(ada, key=key, **clone_call(ada, prepared))
    again = await post(ada, key=key, **clone_call(ada, prepared))
    assert first.request.headers["content-type"] != again.request.headers["content-type"]
    assert_replayed(first, again)
    assert rows(ada, "attempts") == 1
    for other in (clone_call(ada, prepared + b"\0"), clone_call(ada, prepared, name="Another")):
        assert problem(await post(ada, key=key, **other)) == (409, "idempotency_key_reused")


async def test_json_is_the_same_however_it_is_spelt(ada: Person) -> None:
    key = new_key()
    headers = {"content": b'{"statement": "voice_clone", "locale": "en", "version": 1}'}
    spelt = {"content": b'{"version":1,"locale":"en","statement":"voice\\u005fclone"}'}
    ada.client.headers["content-type"] = "application/json"
    assert_replayed(
        await post(ada, "/v1/consents", key, **headers), await post(ada, "/v1/consents", key, **spelt)
    )


async def test_a_key_is_for_one_call_only(ada: Person) -> None:
    key = new_key()
    assert (await post(ada, key=key, **CONSENT)).status_code == 201
    other = await post(ada, "/v1/consents", key, json={"locale": "de", "version": 1})
    assert problem(other) == (409, "idempotency_key_reused")
    assert problem(await post(ada, key=key, **upload_call(ada))) == (409, "idempotency_key_reused")


async def test_the_same_key_of_another_user_is_another_key(ada: Person) -> None:
    key = new_key()
    first = await post(ada, key=key, **CONSENT)
    async with person(ada.product) as bob:
        his = await post(bob, key=key, **CONSENT)
    assert (first.status_code, his.status_code) == (201, 201)
    assert first.json()["consent_id"] != his.json()["consent_id"]


async def test_a_refusal_is_an_answer_too(ada: Person) -> None:
    key = new_key()
    call: dict[str, Any] = {"path": f"/v1/reflections/{ada.reflection}/sessions"}
    refused = await post(ada, key=key, **call)
    assert problem(refused) == (409, "launch_blocked")
    again = await post(ada, key=key, **call)
    assert (again.content, again.headers["idempotency-replayed"]) == (refused.content, "true")


async def test_what_asks_for_another_try_is_not_kept(ada: Person) -> None:
    for _ in range(5):
        assert (await post(ada, key=new_key(), **upload_call(ada))).status_code == 201
    key = new_key()
    assert problem(await post(ada, key=key, **upload_call(ada))) == (429, "too_many_open_uploads")
    with ada.product.connect() as connection:
        connection.execute(
            "update public.voice_clone_attempts set status = 'expired' where status = 'awaiting_upload'"
        )
    assert (await post(ada, key=key, **upload_call(ada))).status_code == 201


async def test_of_calls_at_once_one_creates(ada: Person) -> None:
    key, before = new_key(), rows(ada, "consents")
    answers = await asyncio.gather(*(post(ada, key=key, **CONSENT) for _ in range(8)))
    assert rows(ada, "consents") == before + 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    made = {answer.json()["consent_id"] for answer in answers if answer.is_success}
    assert len(made) == 1
    for answer in answers:
        if not answer.is_success:
            assert problem(answer) == (409, "idempotency_key_in_use")
            assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("route", ["consent", "upload", "clone"])
async def test_a_kill_before_the_answer_is_kept_creates_nothing_twice(
    product: Product, prepared: bytes, no_lease: None, held_back: psycopg.Connection[Any], route: str
) -> None:
    service = await product.start("service")
    async with person(product) as ada:
        calls = {"consent": CONSENT, "upload": upload_call(ada), "clone": clone_call(ada, prepared)}
        key, before = new_key(), {table: rows(ada, table) for table in ("consents", "attempts")}
        first = asyncio.create_task(post(ada, key=key, **calls[route]))
        await product.until("select from pg_locks where locktype = 'advisory' and not granted")
        await product.kill(service)
        held_back.execute(LOSE_WHAT_WAITS)
        held_back.execute("select pg_advisory_unlock(4711)")
        with pytest.raises(httpx.TransportError):
            await first
        await product.start("service")
        again = await post(ada, key=key, **calls[route])
        assert again.is_success, again.text
        assert_replayed(again, await post(ada, key=key, **calls[route]))
        after = {table: rows(ada, table) - before[table] for table in before}
    made = {"consents": int(route == "consent"), "attempts": int(route != "consent")}
    assert after == made


async def test_a_key_of_a_killed_service_is_free_soon(
    product: Product, held_back: psycopg.Connection[Any]
) -> None:
    service = await product.start("service")
    async with person(product) as ada:
        key, before = new_key(), rows(ada, "consents")
        first = asyncio.create_task(post(ada, key=key, **CONSENT))
        await product.until("select from pg_locks where locktype = 'advisory' and not granted")
        await product.kill(service)
        held_back.execute(LOSE_WHAT_WAITS)
        held_back.execute("select pg_advisory_unlock(4711)")
        with pytest.raises(httpx.TransportError):
            await first
        await product.start("service")
        async with asyncio.timeout(40):  # less than a lease without renewals would be
            while (again := await post(ada, key=key, **CONSENT)).status_code == 409:
                assert problem(again) == (409, "idempotency_key_in_use")
                await asyncio.sleep(0.5)
        assert again.is_success, again.text
        assert rows(ada, "consents") == before + 1


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
async def test_a_key_has_some_printable_characters(ada: Person, key: str) -> None:
    assert problem(await post(ada, key=key, **CONSENT)) == (422, "idempotency_key_invalid")


async def test_a_stranger_cannot_use_a_key(ada: Person) -> None:
    ada.client.headers.pop("authorization")
    assert problem(await post(ada, key=new_key(), **CONSENT)) == (401, "token_missing")
