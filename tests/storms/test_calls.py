"""A storm of calls: callbacks that come twice, while service, consumers, Postgres and a receiver fail.

What it drives are the queues of an organization: recordings, the clones of stored recordings, the files of
employees, object triggers and webhooks. Afterwards each employee has one voice, one recording and one file
that agree; a revocation has taken everything of its employee; and the webhook got each transition in order.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

import httpx
import pytest
import pytest_asyncio

from scripts.local.main_job import Client, DemoError
from scripts.local.product import TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN
from scripts.local.supabase.processes import Child
from scripts.local.supabase.stack import running_stack
from tests.backend.receiver import Receiver, receiver
from tests.backend.test_webhooks import by_attempt
from tests.clusters import temporary_directory
from tests.end_to_end import test_employees as employees
from tests.end_to_end.conftest import Idle, Product, person
from tests.end_to_end.test_crashes import crash
from tests.simulators import simulator

# A worker renews the lease of an inspection every ten seconds.
TIMES = {
    "lost_message": "10 seconds", "lost_message_cap": "20 seconds", "step": "30 seconds",
    "recording_lease": "8 seconds", "file_lease": "4 seconds", "inspection_lease": "20 seconds",
    "webhook_lease": "4 seconds", "webhook_backoff": "0.5 seconds", "webhook_backoff_cap": "2 seconds",
}  # fmt: skip
PATIENCE_SECONDS = 480
SETTINGS = {
    "MESSAGE_BUDGET": "100", "SWEEP_SECONDS": "0.5", "RETRY_BASE_SECONDS": "0.5", "RETRY_CAP_SECONDS": "2",
}  # fmt: skip
UNSETTLED = """
select e.id, a.status, a.preview_status from public.employees e
left join public.voice_clone_attempts a on a.employee_id = e.id and a.is_active
left join voice_clone.employee_files f on f.employee_id = e.id
where e.id = any (%(cloned)s::uuid[]) and (
    a.status is distinct from 'ready' or a.preview_status is distinct from 'rendered'
    or e.voice ->> 'previewStatus' is distinct from 'rendered' or f.written is distinct from f.wanted)
  or e.id = any (%(gone)s::uuid[]) and (
    a.id is not null or e.voice_id is not null or f.written is distinct from f.wanted
    or exists (select from storage.objects o where o.name like e.id || '/%%'))
union all
select r.id, r.status, 'recording' from voice_clone.recordings r where r.status in ('pending', 'processing')
union all
select null, d.status, 'delivery' from public.webhook_deliveries d where d.status = 'pending'
union all
select n.attempt_id, n.status, 'enrollment' from voice_clone.enrollments n
where n.status not in ('attached', 'closed', 'removed') and n.removal_due_at is not null
"""
AGREE = """
select e.id, e.voice_id, a.provider_voice_id, a.id as attempt,
  (select count(*) from voice_clone.recordings r
   where r.employee_id = e.id and r.status = 'stored') as stored,
  (select count(*) from public.voice_clone_attempts x where x.employee_id = e.id and x.is_active) as active
from public.employees e join public.voice_clone_attempts a on a.employee_id = e.id and a.is_active
where e.id = any (%s::uuid[])
"""
ATTACHED = "select provider_voice_id from voice_clone.enrollments where status in ('attached', 'orphaned')"
EVENTS = (
    "select e.attempt_id::text as attempt, e.id from voice_clone.events e"
    " join public.voice_clone_attempts a on a.id = e.attempt_id where a.org_id = %s order by e.id"
)
REPLAYED = (
    "select a.id from public.voice_clone_attempts a where to_jsonb(a) is distinct from"
    " (select to_jsonb(r) from voice_clone.replay(a.id) r)"
)
REFUSED = "select * from voice_clone.recording_clones where error_code is not null"
DEAD = "select count(*)::int as count from voice_clone.dead_letters"


@pytest_asyncio.fixture(loop_scope="session")
async def product() -> AsyncIterator[Product]:
    """Of its own: the storm leaves nothing to other tests."""
    with temporary_directory() as directory, simulator("--slots", "1000") as providers:
        async with running_stack(directory) as stack:
            made = Product(stack, providers, Idle(stack))
            with made.connect() as connection:
                for name, value in TIMES.items():
                    connection.execute(
                        "update voice_clone.timeouts set value = %s where name = %s", (value, name)
                    )
            yield made
            await made.stop()


class Calls:
    """The organization, and what disturbs it."""

    def __init__(self, product: Product, target: Receiver, seed: int) -> None:
        self.product, self.target = product, target
        self.random = Random(seed)
        self.organization = ""
        self.links: dict[str, dict[str, str]] = {}  # of the employees
        self.service: Child | None = None
        self.consumers: Child | None = None
        self.done: list[str] = []

    async def start(self) -> None:
        self.service = await self.product.start("service", **SETTINGS)
        self.consumers = await self.product.start("consumers", **SETTINGS)

    async def hire(self, admin: Client, count: int) -> None:
        self.organization, first = await employees.hired(admin, self.product)
        rows = [{"org_id": self.organization, "full_name": f"Bo {n}"} for n in range(count - 1)]
        more = await admin.gateway(
            "POST", "/rest/v1/employees?select=id", json=rows, headers={"prefer": "return=representation"}
        )
        for employee in (first, *(row["id"] for row in more.json())):
            self.links[employee] = await employees.consented(self.product, admin, employee)
        wanted = {"clone_recordings": True}
        await admin.gateway("PATCH", f"/rest/v1/organizations?id=eq.{self.organization}", json=wanted)
        body = {"url": self.target.url, "organization_id": self.organization}
        self.target.secret = (await admin.service("POST", "/v1/webhooks", json=body)).json()["secret"]

    async def disturb(self) -> None:
        ways: list[Callable[[], Awaitable[None]]] = [
            self.kill_service, self.kill_consumers, self.restart_postgres, self.lose_receiver,
        ]  # fmt: skip
        fewest = min(self.done.count(way.__name__) for way in ways)
        way = self.random.choice([way for way in ways if self.done.count(way.__name__) == fewest])
        self.done.append(way.__name__)
        await way()

    async def kill_service(self) -> None:
        assert self.service
        await self.product.kill(self.service)
        self.service = await self.product.start("service", **SETTINGS)
        await self.kill_consumers()  # whose SERVICE_URL is that of the former one

    async def kill_consumers(self) -> None:
        assert self.consumers
        await self.product.kill(self.consumers)
        self.consumers = await self.product.start("consumers", **SETTINGS)

    async def restart_postgres(self) -> None:
        assert self.service
        await crash(self.product, "postgres", self.service)
        await self.service.await_url(f"{self.product.stack.api_url}/health/ready")

    async def lose_receiver(self) -> None:
        """Until the next time."""
        await (self.target.down() if self.target.is_up else self.target.up())

    async def call(self, employee: str) -> None:
        """Twilio sends again what was not answered."""
        call = f"CA{secrets.token_hex(16)}"
        record = {"employee_id": employee, "call_sid": call}
        await until_done(lambda: employees.as_server(self.product, "/rest/v1/calls", json=record))

        async def send() -> None:
            sent = await asyncio.to_thread(
                self.product.providers.send_recording,
                f"{self.product.stack.api_url}/twilio/voice/recording",
                call_sid=call,
                account_sid=TWILIO_ACCOUNT_SID,
                auth_token=TWILIO_AUTH_TOKEN,
                text=employees.LONG,
                times=2,
            )
            assert set(sent["statuses"]) == {204}, sent

        await until_done(send)

    async def revoke(self, employee: str) -> None:
        async def send() -> None:
            url = f"{self.product.stack.api_url}/v1/employees/{employee}/consent"
            async with httpx.AsyncClient(timeout=60, trust_env=False) as anyone:
                assert (await anyone.delete(url, headers=self.links[employee])).status_code == 200

        await until_done(send)

    async def settle(self, cloned: list[str], gone: list[str]) -> None:
        if not self.target.is_up:
            await self.target.up()
        clock = asyncio.get_running_loop().time
        until = clock() + PATIENCE_SECONDS
        while left := self.rows(UNSETTLED, {"cloned": cloned, "gone": gone}):
            if clock() > until:
                pytest.fail(f"{left}\n{self.rows(REFUSED)}")
            await asyncio.sleep(0.2)

    def rows(self, query: str, parameters: Any = ()) -> list[dict[str, Any]]:
        with self.product.connect() as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    async def file(self, employee: str) -> httpx.Response:
        stack = self.product.stack
        key = {"apikey": stack.secret_key, "authorization": f"Bearer {stack.secret_key}"}
        async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
            path = f"/storage/v1/object/deep-fakes/{employee}/{employee}.json"
            return await http.get(stack.supabase_url + path, headers=key)


async def until_done(send: Callable[[], Awaitable[None]]) -> None:
    """Again while what it needs is down: each of these requests may come twice."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await send()
            except (AssertionError, httpx.HTTPError, DemoError):
                await asyncio.sleep(0.2)


async def run_storm(product: Product, count: int, seed: int, *, calls_between: int) -> None:
    async with receiver() as target:
        calls = Calls(product, target, seed)
        await calls.start()
        async with person(product) as ada:
            await calls.hire(ada.client, count)
        people = list(calls.links)
        for number, employee in enumerate(people):
            await calls.call(employee)
            if number % calls_between == 0:
                await calls.disturb()
        revoked = people[: count // 4]
        for employee in revoked:
            await calls.revoke(employee)
            await calls.disturb()
        assert len(set(calls.done)) == 4, "each disruption came"
        kept = [employee for employee in people if employee not in revoked]
        await calls.settle(kept, revoked)
        await check(calls, kept, revoked)


async def check(calls: Calls, kept: list[str], revoked: list[str]) -> None:
    rows = calls.rows(AGREE, (kept,))
    assert {str(row["id"]) for row in rows} == set(kept)
    for row in rows:
        assert (row["stored"], row["active"], row["voice_id"]) == (1, 1, row["provider_voice_id"]), row
        file = (await calls.file(str(row["id"]))).json()
        assert (file["attempt_id"], file["voice_id"]) == (str(row["attempt"]), row["voice_id"])
    for employee in revoked:
        assert (await calls.file(employee)).status_code in (400, 404)
    listed = {voice["voice_id"] for voice in calls.product.providers.voices("elevenlabs")}
    assert listed == {row["provider_voice_id"] for row in calls.rows(ATTACHED)}, "each voice has an owner"
    assert calls.rows(REPLAYED) == []
    assert calls.rows(DEAD) == [{"count": 0}]
    wanted: dict[str, list[int]] = {}
    for row in calls.rows(EVENTS, (calls.organization,)):
        wanted.setdefault(row["attempt"], []).append(row["id"])
    first = {attempt: list(dict.fromkeys(ids)) for attempt, ids in by_attempt(calls.target.received).items()}
    assert first == wanted, "each event at least once, those of an attempt in their order"


async def test_each_call_of_a_small_storm_becomes_one_voice(product: Product) -> None:
    await run_storm(product, 4, seed=1, calls_between=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 4))
async def test_each_call_of_a_storm_becomes_one_voice(product: Product, seed: int) -> None:
    await run_storm(product, 40, seed, calls_between=2)
