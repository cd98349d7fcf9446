"""Webhooks over real HTTP: registered by their owners, delivered by drains, verified by the stock library."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from standardwebhooks import Webhook, WebhookVerificationError

from backend.domains.webhooks.signing import new_secret, signed_headers
from backend.web.addresses import MOST_CHARACTERS
from scripts.local.supabase.postgres import Cluster
from tests.backend.conftest import Served, served
from tests.backend.following import headers
from tests.backend.receiver import Receiver, answer, receiver
from tests.backend.test_draining import drain, waiting
from tests.backend.test_guarded_http import REFUSED_FORMS
from tests.clusters import cloned_database
from tests.database.test_employee_voices import Staffed
from tests.fixture import Fixture
from tests.queue_consumers.conftest import until

LOOPBACK = {"ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8"}


@pytest.fixture(scope="module")
def given(cluster: Cluster) -> Iterator[Fixture]:
    with cloned_database(cluster) as database, closing(Fixture(database)) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(given: Fixture, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    logs = tmp_path_factory.mktemp("webhooks")
    async with served(logs, given.database.service, **LOOPBACK) as running:
        yield running


@pytest.fixture
async def target() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


class Owner:
    def __init__(self, given: Fixture, service: Served, user: UUID | None = None) -> None:
        self.given, self.service, self.user = given, service, user or given.user()

    async def ask(self, method: str, path: str = "", json: object = None, **sent: str) -> httpx.Response:
        return await self.service.http.request(
            method, f"/v1/webhooks{path}", json=json, headers=headers(self.user) | sent
        )

    async def register(self, target: Receiver) -> str:
        made = await self.ask("POST", json={"url": target.url})
        assert made.status_code == 201, made.text
        target.secret = made.json()["secret"]
        return made.json()["id"]

    def statuses(self) -> list[str]:
        rows = self.given.superuser.execute(
            "select status from public.webhook_deliveries where user_id = %s order by event_id", (self.user,)
        )
        return [row["status"] for row in rows]


@pytest.fixture
def owner(given: Fixture, service: Served) -> Owner:
    return Owner(given, service)


@contextmanager
def no_backoff(given: Fixture) -> Iterator[None]:
    update = "update voice_clone.timeouts set value = %s where name = 'webhook_backoff'"
    given.superuser.execute(update, ("0",))
    yield
    given.superuser.execute(update, ("5 seconds",))


def events(given: Fixture, user: UUID) -> dict[str, list[int]]:
    """By attempt, in their order."""
    found: dict[str, list[int]] = {}
    for row in given.superuser.execute(
        "select e.attempt_id, e.id from voice_clone.events e join public.voice_clone_attempts a"
        " on a.id = e.attempt_id where a.user_id = %s order by e.id",
        (user,),
    ).fetchall():
        found.setdefault(str(row["attempt_id"]), []).append(row["id"])
    return found


def by_attempt(received: list[dict[str, Any]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for each in received:
        found.setdefault(each["attempt_id"], []).append(each["event_id"])
    return found


async def test_each_transition_arrives_signed_and_says_what_happened(
    owner: Owner, target: Receiver, given: Fixture, service: Served
) -> None:
    webhook = await owner.register(target)
    reflection = given.reflection(owner.user)
    attempt = given.launchable(owner.user, reflection)
    assert (await drain(service, "webhooks"))["empty"]
    assert by_attempt(target.received) == events(given, owner.user)
    row = given.attempt(attempt)
    first = target.received[0]
    assert first | {"recorded_at": ""} == {
        "event_id": first["event_id"], "attempt_id": str(attempt), "reflection_id": str(reflection),
        "employee_id": None, "voice_id": str(row["voice_id"]), "version": 1, "events": ["opened"],
        "recorded_at": "",
    }  # fmt: skip
    sent = target.headers[0]
    assert (sent["webhook-id"], sent["content-type"]) == (f"evt_{first['event_id']}", "application/json")
    assert "authorization" not in sent
    shown = (await owner.ask("GET", f"/{webhook}/deliveries")).json()
    assert [each["event_id"] for each in shown] == [each["event_id"] for each in reversed(target.received)]
    assert {(each["status"], each["response_status"], each["try_count"]) for each in shown} == {
        ("delivered", 200, 1)
    }
    assert waiting(given, "webhooks") == (0, 0)


async def test_a_receiver_that_was_down_gets_every_event_in_order_once_it_is_back(
    owner: Owner, target: Receiver, given: Fixture, service: Served
) -> None:
    with no_backoff(given):
        await owner.register(target)
        attempts = [given.queued(owner.user, None) for _ in range(3)]
        await drain(service, "webhooks")
        await target.down()
        for attempt in attempts:
            given.enroll(attempt)
        await drain(service, "webhooks", 0.5)
        await target.up()
        target.answer = lambda _: answer(503, "retry-after: 0")
        voice = given.attempt(attempts[0])["voice_id"]
        given.one("select voice_clone.delete_voice(%s, %s)", voice, owner.user)
        await drain(service, "webhooks", 0.5)
        target.answer = lambda _: answer(302, "location: https://example.org/")
        await drain(service, "webhooks", 0.5)
        assert set(owner.statuses()) == {"delivered", "pending"}
        target.answer = lambda _: answer(204)
        while "pending" in owner.statuses():
            await drain(service, "webhooks")
            given.superuser.execute("update pgmq.q_webhooks set vt = now()")
    assert by_attempt(target.received) == events(given, owner.user)
    assert len(target.seen) > len(target.received)
    bodies = {(each["event_id"], str(each)) for each in target.seen}
    assert len(bodies) == len(target.received), "each try says the same"


async def test_a_webhook_that_nobody_answers_holds_up_no_other(
    given: Fixture, service: Served, target: Receiver
) -> None:
    slow, quick = Owner(given, service), Owner(given, service)
    async with receiver() as silent:
        silent.answer = lambda _: None
        slow_webhook = await slow.register(silent)
        await quick.register(target)
        for _ in range(6):
            given.queued(slow.user, None) if _ < 4 else given.queued(quick.user, None)
        draining = asyncio.create_task(drain(service, "webhooks", 5))
        await until(lambda: quick.statuses() == ["delivered"] * 4)
        assert slow.statuses() == ["pending"] * 8
        assert (silent.connections, silent.most_at_once) == (4, 4), "a few at once, one worker"
        await draining
        await slow.ask("DELETE", f"/{slow_webhook}")


async def test_a_private_address_is_refused_when_it_is_registered_and_when_its_name_says_so(
    given: Fixture, tmp_path: Path, target: Receiver
) -> None:
    async with served(tmp_path, given.database.service) as strict:
        owner = Owner(given, strict)
        named = [form for form in REFUSED_FORMS if len(form) < MOST_CHARACTERS]
        for form in (target.url, "https://10.0.0.1/hook", *named):
            url = form.replace("{port}", str(target.port))
            refused = await owner.ask("POST", json={"url": url})
            assert (refused.status_code, refused.json()["code"]) == (422, "address_refused"), url
        made = await owner.ask("POST", json={"url": f"https://localhost:{target.port}/hook"})
        assert made.status_code == 201
        given.open(owner.user, None)
        await drain(strict, "webhooks")
        (delivery,) = (await owner.ask("GET", f"/{made.json()['id']}/deliveries")).json()
    assert (delivery["status"], delivery["error_code"]) == ("pending", "address_refused")
    assert (delivery["response_status"], target.connections) == (None, 0)


async def test_a_redirect_of_a_receiver_is_not_followed(
    owner: Owner, target: Receiver, given: Fixture, service: Served
) -> None:
    webhook = await owner.register(target)
    async with receiver() as private:
        target.answer = lambda _: answer(307, f"location: {private.url}")
        given.open(owner.user, None)
        await drain(service, "webhooks")
        (delivery,) = (await owner.ask("GET", f"/{webhook}/deliveries")).json()
        assert (delivery["status"], delivery["error_code"]) == ("pending", "redirect_refused")
        assert (len(target.seen), private.connections) == (1, 0)
    await owner.ask("DELETE", f"/{webhook}")


async def test_while_a_secret_is_rotated_both_verify(
    owner: Owner, target: Receiver, given: Fixture, service: Served
) -> None:
    webhook = await owner.register(target)
    former = target.secret
    key = {"idempotency-key": "a rotation"}
    rotated = await owner.ask("POST", f"/{webhook}/rotate-secret", **key)
    assert rotated.status_code == 201
    again = await owner.ask("POST", f"/{webhook}/rotate-secret", **key)
    assert again.json() == rotated.json()
    given.open(owner.user, None)
    await drain(service, "webhooks")
    assert len(target.received) == 1, "the former secret verifies"
    signatures = target.headers[0]["webhook-signature"].split(" ")
    assert len(signatures) == 2
    target.secret = rotated.json()["secret"]
    given.open(owner.user, None)
    await drain(service, "webhooks")
    assert len(target.received) == 2
    assert target.secret != former


async def test_a_webhook_that_is_gone_says_so_and_is_enabled_again(
    owner: Owner, target: Receiver, given: Fixture, service: Served
) -> None:
    webhook = await owner.register(target)
    target.answer = lambda _: answer(410)
    given.open(owner.user, None)
    await drain(service, "webhooks")
    shown = (await owner.ask("GET", f"/{webhook}")).json()
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", "gone")
    event = (await owner.ask("GET", f"/{webhook}/deliveries")).json()[0]["event_id"]
    replay = {"event_id": event}
    refused = await owner.ask("POST", f"/{webhook}/replay", json=replay)
    assert (refused.status_code, refused.json()["code"]) == (409, "webhook_disabled")
    target.answer = lambda _: answer(200)
    assert (await owner.ask("POST", f"/{webhook}/enable")).json()["status"] == "enabled"
    assert (await owner.ask("POST", f"/{webhook}/replay", json=replay)).status_code == 202
    await drain(service, "webhooks")
    assert [each["event_id"] for each in target.received] == [event]


async def test_a_secret_is_shown_once_and_its_webhook_to_its_owner_alone(
    owner: Owner, target: Receiver, given: Fixture, service: Served
) -> None:
    webhook = await owner.register(target)
    (listed,) = (await owner.ask("GET")).json()
    assert (listed["id"], listed["url"], listed["status"]) == (
        webhook,
        target.url.replace("/hook", "/hook"),
        "enabled",
    )
    assert "secret" not in listed
    assert target.secret not in service.child.output()
    stranger = Owner(given, service)
    assert (await stranger.ask("GET")).json() == []
    for method, path, body in [
        ("GET", "", None), ("DELETE", "", None), ("GET", "/deliveries", None), ("POST", "/enable", None),
        ("POST", "/rotate-secret", None), ("POST", "/replay", {"event_id": 1}),
    ]:  # fmt: skip
        refused = await stranger.ask(method, f"/{webhook}{path}", json=body)
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found"), path
    assert (await owner.ask("DELETE", f"/{webhook}")).status_code == 204
    assert (await owner.ask("GET")).json() == []


async def test_the_body_of_a_webhook_is_bounded(owner: Owner) -> None:
    for body in (
        {"url": "https://example.org/" + "a" * 2000},
        {"url": ""},
        {},
        {"url": "https://a.org", "b": 1},
    ):
        refused = await owner.ask("POST", json=body)
        assert refused.status_code == 422, body
    for _ in range(10):
        assert (await owner.ask("POST", json={"url": "https://example.org/"})).status_code == 201
    refused = await owner.ask("POST", json={"url": "https://example.org/"})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_webhooks")


async def test_a_body_that_never_ends_is_not_read(
    owner: Owner, target: Receiver, given: Fixture, service: Served
) -> None:
    await owner.register(target)
    target.answer = lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n" + b"x" * 100_000
    given.open(owner.user, None)
    assert (await drain(service, "webhooks"))["empty"]
    assert owner.statuses() == ["delivered"]


def test_the_library_refuses_another_secret() -> None:
    mine, other = new_secret(), new_secret()
    sent = signed_headers([mine], "evt_1", int(time.time()), b"{}")
    Webhook(mine).verify(b"{}", sent)
    for secret, body in ((other, b"{}"), (mine, b"[]")):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, sent)


async def test_an_organizations_webhook_gets_the_transitions_of_its_employees(
    given: Fixture, service: Served, target: Receiver
) -> None:
    acme = Staffed(given)
    owner, member, stranger = (
        Owner(given, service, user) for user in (acme.admin, acme.member, given.user())
    )
    body = {"url": target.url, "organization_id": str(acme.id)}
    listed = f"?organization_id={acme.id}"
    for asks, status in ((member, 403), (stranger, 404)):
        assert (await asks.ask("POST", json=body)).status_code == status
        assert (await asks.ask("GET", listed)).status_code == status
    made = (await owner.ask("POST", json=body)).json()
    assert made["organization_id"] == str(acme.id)
    target.secret = made["secret"]
    assert [each["id"] for each in (await owner.ask("GET", listed)).json()] == [made["id"]]
    assert (await owner.ask("GET")).json() == [], "the admin's own"
    path = f"/{made['id']}"
    for asks in (member, stranger):
        for method, below in (
            ("GET", ""), ("DELETE", ""), ("GET", "/deliveries"),
            ("POST", "/rotate-secret"), ("POST", "/enable"),
        ):  # fmt: skip
            assert (await asks.ask(method, path + below)).status_code == 404, below
        assert (await asks.ask("POST", f"{path}/replay", json={"event_id": 1})).status_code == 404
    attempt = acme.queued()
    await drain(service, "webhooks")
    first = target.received[0]
    assert (first["attempt_id"], first["employee_id"]) == (str(attempt), str(acme.employee))
    assert first["reflection_id"] is None
    shown = (await owner.ask("GET", f"{path}/deliveries")).json()
    assert {each["employee_id"] for each in shown} == {str(acme.employee)}
    assert (
        await owner.ask("POST", f"{path}/replay", json={"event_id": shown[0]["event_id"]})
    ).status_code == 202
    assert (await owner.ask("POST", f"{path}/rotate-secret")).status_code == 201
    assert (await owner.ask("DELETE", path)).status_code == 204
