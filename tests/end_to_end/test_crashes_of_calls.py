"""The service killed at each point of an organization's queues: nothing is lost, and nothing is done twice.

One call of an employee goes through recordings, recording_clones, employee_files and webhooks. At each point
the service is killed with SIGKILL, and another one goes on with the same message.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from backend.app.queues import QUEUES
from scripts.local.product import TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN
from scripts.local.supabase.processes import Child
from tests.backend.receiver import Receiver, receiver
from tests.end_to_end import test_employees as employees
from tests.end_to_end.conftest import POLL_SECONDS, Product, person

# Storage inserts the row of an object when it has the whole file.
HOLD_OBJECTS = """
create or replace function public.hold_object() returns trigger language plpgsql as $$
begin
  perform pg_advisory_xact_lock(4712) where new.name like (select pattern from public.held_objects);
  return new;
end $$;
create table public.held_objects (pattern text);
grant select on public.held_objects to public;
create trigger hold_object before insert or update on storage.objects
  for each row execute function public.hold_object()
"""
LET_OBJECTS_GO = "drop trigger hold_object on storage.objects; drop table public.held_objects"
PATIENCE_SECONDS = 120
CLAIM, END = "before the claim", "before the end"
# What the service waits for at each point. Before the end that is its message, which it acknowledges last.
LOCKS = {
    ("recordings", CLAIM): "select from voice_clone.recordings where employee_id = %(employee)s for update",
    ("recording_clones", CLAIM): "lock table voice_clone.recording_clones in access exclusive mode",
    ("recording_clones", "before it queues"):
        "select from public.employees where id = %(employee)s for no key update",
    ("employee_files", CLAIM):
        "select from voice_clone.employee_files where employee_id = %(employee)s for update",
    ("webhooks", CLAIM): "select from public.webhooks where org_id = %(organization)s for update",
}  # fmt: skip
OBJECTS = {
    ("recordings", "in the upload"): "%.wav",
    ("recording_clones", "in the copy"): "%/sample.wav",
    ("recording_clones", "in the inspection"): "%/prepared.wav",
    ("employee_files", "in the upload"): "%.json",
}
FETCH, REQUEST = ("recordings", "in the fetch"), ("webhooks", "in the request")
POINTS = [
    ("recordings", CLAIM), FETCH, ("recordings", "in the upload"), ("recordings", END),
    ("recording_clones", CLAIM), ("recording_clones", "in the copy"),
    ("recording_clones", "in the inspection"),
    ("recording_clones", "before it queues"), ("recording_clones", END),
    ("employee_files", CLAIM), ("employee_files", "in the upload"), ("employee_files", END),
    ("webhooks", CLAIM), REQUEST, ("webhooks", END),
]  # fmt: skip
WORST = [(queue, END) for queue in ("recordings", "recording_clones", "employee_files", "webhooks")]
BLOCKED = "select pid, usename from pg_stat_activity where %s = any (pg_blocking_pids(pid))"
PASS_TIME = """
set session_replication_role = replica;
update voice_clone.recordings set lease_expires_at = now(), sweep_at = now() where status = 'processing';
update public.voice_samples set lease_expires_at = now(), sweep_at = now() where status = 'processing';
update voice_clone.employee_files set lease_expires_at = now(), sweep_at = now()
where lease_expires_at is not null;
update public.webhooks set lease_expires_at = now() where lease_expires_at is not null;
update public.webhook_deliveries set sweep_at = now() where status = 'pending'
"""
STATE = """
select a.id, a.provider_voice_id, a.status, a.preview_status, e.voice_id, f.written, f.wanted,
  (select jsonb_agg(d order by d.event_id) from public.webhook_deliveries d
   where d.employee_id = e.id and d.status = 'pending') as due
from public.employees e
left join public.voice_clone_attempts a on a.employee_id = e.id and a.is_active
left join voice_clone.employee_files f on f.employee_id = e.id
where e.id = %s
"""
LEFT = """
select
  (select count(*) from voice_clone.recordings r
   where r.employee_id = e.id and r.status = 'stored') as stored,
  (select count(*) from voice_clone.recording_clones c
   where c.employee_id = e.id and c.status = 'queued') as cloned,
  (select count(*) from public.voice_clone_attempts a where a.employee_id = e.id) as attempts,
  (select count(*) from public.voice_samples s where s.employee_id = e.id and s.status = 'ready') as samples,
  (select count(*) from voice_clone.dead_letters d where d.message ->> 'id' in (
    select e.id::text union all select r.id::text from voice_clone.recordings r where r.employee_id = e.id
    union all select c.id::text from voice_clone.recording_clones c where c.employee_id = e.id)) as dead
from public.employees e where e.id = %s
"""
EVENTS = (
    "select array_agg(e.id order by e.id) as ids from voice_clone.events e"
    " join public.voice_clone_attempts a on a.id = e.attempt_id where a.employee_id = %s"
)


class Call:
    """An employee's call, and the service that works for it and is killed."""

    def __init__(self, product: Product, target: Receiver, service: Child) -> None:
        self.product, self.target, self.service = product, target, service
        self.organization = self.employee = ""

    async def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.product.stack.internal_token}"}
        async with httpx.AsyncClient(
            base_url=self.product.stack.api_url, headers=headers, timeout=60, trust_env=False
        ) as http:
            return await http.post(path, json=body)

    async def step(self, queue: str, message: dict[str, Any]) -> httpx.Response:
        path = QUEUES[queue].address.format(row_id=message["id"])
        return await self.post(path, {"queue": queue, "msg_id": message["msg_id"]})

    async def message(self, queue: str) -> dict[str, Any]:
        """The last one that waits; the other queues are drained until there is one."""
        found = f"select msg_id, message ->> 'id' as id from pgmq.q_{queue} order by msg_id desc limit 1"  # noqa: S608
        others = [name for name in QUEUES if name != queue]
        async with asyncio.timeout(60):
            while True:
                with self.product.connect() as connection:
                    row = connection.execute(found.encode()).fetchone()
                if row is not None:
                    return row
                await self.drain(others)

    async def drain(self, queues: list[str]) -> None:
        calls = [self.post(f"/internal/queues/{queue}/drain", {"seconds": 0.1}) for queue in queues]
        for answer in (*await asyncio.gather(*calls), await self.post("/internal/sweep", {})):
            assert answer.status_code == 200, answer.text

    async def kill_at(self, queue: str, point: str) -> None:
        message = await self.message(queue)
        try:
            async with self.held(queue, point, message):
                await self.product.kill(self.service)
        except TimeoutError:
            pytest.fail(f"{queue}: the service was not {point}")
        self.service = await self.product.start("service")
        with self.product.connect() as connection:
            connection.execute(PASS_TIME.encode())

    @asynccontextmanager
    async def held(self, queue: str, point: str, message: dict[str, Any]) -> AsyncIterator[None]:
        """The service works on the message up to this point, and waits there until it is killed."""
        with self.product.connect() as locker:
            seen = len(self.product.providers.calls("twilio", "recording")), len(self.target.seen)
            self.prepare(locker, queue, point, message)
            working = asyncio.create_task(self.step(queue, message))
            try:
                if (queue, point) == FETCH:
                    await asyncio.to_thread(
                        self.product.providers.wait, "twilio", "recording", count=seen[0] + 1, phase="arrived"
                    )
                elif (queue, point) == REQUEST:
                    async with asyncio.timeout(30):
                        while len(self.target.seen) == seen[1]:  # noqa: ASYNC110
                            await asyncio.sleep(POLL_SECONDS)
                else:
                    await self.product.until(BLOCKED, locker.info.backend_pid)
                yield
                await asyncio.gather(working, return_exceptions=True)
                for row in locker.execute(BLOCKED.encode(), (locker.info.backend_pid,)).fetchall():
                    if row["usename"] == "voice_clone_service":  # or it would go on without its client
                        locker.execute("select pg_terminate_backend(%s)", (row["pid"],))
            finally:
                working.cancel()
                self.product.providers.release()
                self.target.answer = Receiver().answer
        if (queue, point) in OBJECTS:
            with self.product.connect() as connection:
                connection.execute(LET_OBJECTS_GO.encode())

    def prepare(self, locker: Any, queue: str, point: str, message: dict[str, Any]) -> None:
        if (queue, point) == FETCH:
            self.product.providers.fault("twilio", "recording", "hang")
        elif (queue, point) == REQUEST:
            self.target.answer = lambda _: None
        elif (queue, point) in OBJECTS:
            locker.execute(HOLD_OBJECTS.encode())
            locker.execute("insert into public.held_objects values (%s)", (OBJECTS[queue, point],))
            locker.execute("select pg_advisory_lock(4712)")
        elif point == END:
            locker.execute("begin")
            lock = f"select from pgmq.q_{queue} where msg_id = %s for update"
            locker.execute(lock.encode(), (message["msg_id"],))
        else:
            locker.execute("begin")
            about = {"employee": self.employee, "organization": self.organization}
            locker.execute(LOCKS[queue, point].encode(), about)


@pytest.mark.parametrize(
    "points", [WORST, pytest.param(POINTS, marks=pytest.mark.long)], ids=["the worst points", "every point"]
)
async def test_a_call_survives_the_death_of_its_worker_at(
    product: Product, points: list[tuple[str, str]]
) -> None:
    service = await product.start("service")
    async with person(product) as ada, receiver() as target:
        call = Call(product, target, service)
        call.organization, call.employee = await employees.hired(ada.client, product)
        await employees.consented(product, ada.client, call.employee)
        wanted = {"clone_recordings": True}
        await ada.client.gateway("PATCH", f"/rest/v1/organizations?id=eq.{call.organization}", json=wanted)
        body = {"url": target.url, "organization_id": call.organization}
        target.secret = (await ada.client.service("POST", "/v1/webhooks", json=body)).json()["secret"]
        await receive(call)
        for queue, point in points:
            await call.kill_at(queue, point)
        await product.start("consumers")
        await check(call, await settled(call))


async def settled(call: Call) -> dict[str, Any]:
    """The employee's attempt, once nothing is left to do."""
    state: dict[str, Any] = {}
    clock = asyncio.get_running_loop().time
    until = clock() + PATIENCE_SECONDS
    while True:
        state = call.product.row(STATE, call.employee)
        is_written = state["voice_id"] == state["provider_voice_id"] and state["written"] == state["wanted"]
        if state["preview_status"] == "rendered" and is_written and state["due"] is None:
            return state
        if clock() > until:
            pytest.fail(f"not settled: {state}")
        await asyncio.sleep(POLL_SECONDS)


async def receive(call: Call) -> None:
    sid = f"CA{secrets.token_hex(16)}"
    record = {"employee_id": call.employee, "call_sid": sid}
    await employees.as_server(call.product, "/rest/v1/calls", json=record)
    sent = await asyncio.to_thread(
        call.product.providers.send_recording,
        f"{call.product.stack.api_url}/twilio/voice/recording",
        call_sid=sid,
        account_sid=TWILIO_ACCOUNT_SID,
        auth_token=TWILIO_AUTH_TOKEN,
        text=employees.LONG,
        times=2,
    )
    assert set(sent["statuses"]) == {204}


async def check(call: Call, ready: dict[str, Any]) -> None:
    left = call.product.row(LEFT, call.employee)
    assert left == {"stored": 1, "cloned": 1, "attempts": 1, "samples": 1, "dead": 0}
    made = [voice["voice_id"] for voice in call.product.providers.voices("elevenlabs")]
    assert made == [ready["provider_voice_id"]]
    assert len(call.product.providers.calls("elevenlabs", "create")) == 1
    stack = call.product.stack
    key = {"apikey": stack.secret_key, "authorization": f"Bearer {stack.secret_key}"}
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        path = f"/storage/v1/object/deep-fakes/{call.employee}/{call.employee}.json"
        file = (await http.get(stack.supabase_url + path, headers=key)).json()
    assert (file["attempt_id"], file["voice_id"]) == (str(ready["id"]), ready["provider_voice_id"])
    received = [each["event_id"] for each in call.target.received]
    assert list(dict.fromkeys(received)) == call.product.row(EVENTS, call.employee)["ids"], "in their order"
    assert len(received) - len(set(received)) == 1, (
        "only what was answered before the worker died comes again"
    )
