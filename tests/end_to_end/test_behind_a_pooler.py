"""Behind PgBouncer in transaction mode, on each Postgres: an organization's path, triggers, drains, webhooks.

As in a hosted project, Auth, Data API and Storage have connections of their own. `make test` runs the drains
on Postgres 15, or on its own where there is none; `make test-long` everything on 15, 16 and 18.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from backend.app.queues import QUEUES
from scripts.local.main_job import Client
from scripts.local.product import TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN
from scripts.local.supabase.postgres import DEFAULT_VERSION, PostgresError, packaged_postgres
from scripts.local.supabase.processes import Child
from scripts.local.supabase.stack import running_stack
from tests.backend.receiver import Receiver, receiver
from tests.clusters import temporary_directory
from tests.end_to_end import test_employees as employees
from tests.end_to_end import test_object_triggers as object_triggers
from tests.end_to_end.conftest import POLL_SECONDS, Idle, Product, person
from tests.scripts.poolers import PROGRAM, pooled
from tests.simulators import Simulator

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="needs PgBouncer: apt-get install pgbouncer"),
    pytest.mark.one_postgres,
]
OLDEST = 15  # of those that are supported; Debian's
EVENTS = (
    "select array_agg(e.id order by e.id) as ids from voice_clone.events e"
    " join public.voice_clone_attempts a on a.id = e.attempt_id where a.org_id = %s"
)
READY = (
    "select a.id, a.preview_status, e.voice ->> 'previewStatus' as mirrored from public.employees e"
    " join public.voice_clone_attempts a on a.employee_id = e.id and a.is_active where e.id = %s"
)


class PooledProduct(Product):
    """Its service and consumers reach the database by the pooler alone, so they poll."""

    pooler = ""

    def environment(self, **settings: str) -> dict[str, str]:
        pooled_settings = {"DATABASE_URL": self.pooler, "DATABASE_PREPARE_THRESHOLD": ""}
        return super().environment(**pooled_settings, **settings)

    async def start(self, what: str, **settings: str) -> Child:
        if what == "service":
            return await super().start(what, **settings)
        self.stack.simulator_url = self.providers.url
        child = await self._launch(what, settings)
        self._children.append(child)
        await child.await_output("consuming")
        return child


@pytest_asyncio.fixture(loop_scope="session")
async def product(request: pytest.FixtureRequest, providers: Simulator) -> AsyncIterator[PooledProduct]:
    """On the Postgres of the parameter, with nothing that another test has left."""
    providers.reset()
    with temporary_directory() as directory:
        async with running_stack(directory / "stack", version=request.param) as stack:
            folder = directory / "pooler"
            folder.mkdir()
            with pooled(folder, stack.database_url) as pooler:
                made = PooledProduct(stack, providers, Idle(stack))
                made.pooler = pooler.transaction
                yield made
                output = "".join(child.output() for child in made._children)  # noqa: SLF001 - of the class
                await made.stop()
        assert "prepared statement" not in output
        assert '"level":"error"' not in output, output


def reason_to_leave_out(version: int) -> str:
    """Empty where this Postgres is there."""
    try:
        packaged_postgres(version)
    except PostgresError as error:
        return str(error)
    return ""


def on(*versions: int) -> pytest.MarkDecorator:
    """One that is not there is skipped, and says so."""
    reasons = {version: reason_to_leave_out(version) for version in versions}
    parameters = [
        pytest.param(
            version,
            id=f"postgres-{version}",
            marks=pytest.mark.skipif(bool(reason), reason=f"left out: {reason}"),
        )
        for version, reason in reasons.items()
    ]
    return pytest.mark.parametrize("product", parameters, indirect=True)


async def drained(product: Product) -> None:
    """One round over all queues, and the sweep: what pg_cron calls where no consumer runs."""
    headers = {"authorization": f"Bearer {product.stack.internal_token}"}
    async with httpx.AsyncClient(
        base_url=f"{product.stack.api_url}/internal", headers=headers, timeout=60, trust_env=False
    ) as http:
        calls = [http.post(f"/queues/{queue}/drain", json={"seconds": 0.2}) for queue in QUEUES]
        for answer in (*await asyncio.gather(*calls), await http.post("/sweep", json={})):
            assert answer.status_code == 200, answer.text


async def drain_until(product: Product, query: str, wanted: Mapping[str, Any], *parameters: Any) -> Any:
    async with asyncio.timeout(90):
        while True:
            await drained(product)
            with product.connect() as connection:
                row = connection.execute(query.encode(), parameters).fetchone()
            if row is not None and row.items() >= wanted.items():
                return row
            await asyncio.sleep(POLL_SECONDS)


async def register(admin: Client, organization: str, target: Receiver) -> None:
    body = {"url": target.url, "organization_id": organization}
    target.secret = (await admin.service("POST", "/v1/webhooks", json=body)).json()["secret"]


async def call_of(product: Product, employee: str) -> str:
    call = f"CA{secrets.token_hex(16)}"
    await employees.as_server(product, "/rest/v1/calls", json={"employee_id": employee, "call_sid": call})
    sent = await asyncio.to_thread(
        product.providers.send_recording,
        f"{product.stack.api_url}/twilio/voice/recording",
        call_sid=call,
        account_sid=TWILIO_ACCOUNT_SID,
        auth_token=TWILIO_AUTH_TOKEN,
        text=employees.LONG,
        times=2,
    )
    assert set(sent["statuses"]) == {204}
    return call


async def drains_alone(product: Product) -> None:
    """From a call's recording to a voice that speaks, and to its end; a webhook gets each transition."""
    await product.start("service")
    async with person(product) as ada, receiver() as target:
        admin = ada.client
        organization, employee = await employees.hired(admin, product)
        link = await employees.consented(product, admin, employee)
        wanted = {"clone_recordings": True}
        await admin.gateway("PATCH", f"/rest/v1/organizations?id=eq.{organization}", json=wanted)
        await register(admin, organization, target)
        await call_of(product, employee)
        rendered = {"preview_status": "rendered", "mirrored": "rendered"}
        attempt = (await drain_until(product, READY, rendered, employee))["id"]
        await admin.service("POST", f"/v1/employees/{employee}/voice/preview/complete")
        speech = {"voice_id": str(product.attempt(attempt)["voice_id"]), "text": "Please call me back."}
        spoken = await admin.service("POST", "/api/generate", json=speech)
        assert spoken.headers["content-type"].startswith("audio/")
        assert len(product.providers.voices("elevenlabs")) == 1, "two callbacks, one voice"
        consent = f"{product.stack.api_url}/v1/employees/{employee}/consent"
        async with httpx.AsyncClient(timeout=60, trust_env=False) as anyone:
            assert (await anyone.delete(consent, headers=link)).status_code == 200
        gone = "select count(*)::int as count from storage.objects where name like %s || '/%%'"
        await drain_until(product, gone, {"count": 0}, employee)
        removed = "select status from voice_clone.enrollments where attempt_id = %s"
        await drain_until(product, removed, {"status": "removed"}, attempt)
        ids = product.row(EVENTS, organization)["ids"]
        while len(target.received) < len(ids):
            await drained(product)
    assert product.providers.voices("elevenlabs") == []
    assert [each["event_id"] for each in target.received] == ids, "each once, in its order"


@on(OLDEST, *([DEFAULT_VERSION] if reason_to_leave_out(OLDEST) else []))
async def test_drains_alone_do_the_work_of_an_organization(product: Product) -> None:
    await drains_alone(product)


@pytest.mark.long
@on(OLDEST, 16, 18)
class TestOnEachPostgres:
    async def test_drains_alone(self, product: Product) -> None:
        await drains_alone(product)

    async def test_an_employee_is_cloned_and_gone(self, product: Product, prepared: bytes) -> None:
        await employees.test_an_employee_is_cloned_with_their_consent_and_gone_without_it(product, prepared)

    async def test_a_call_becomes_a_voice(self, product: Product) -> None:
        await employees.test_a_recorded_call_becomes_a_voice_that_speaks_without_a_request(product)

    async def test_a_file_makes_the_voice(self, product: Product, prepared: bytes) -> None:
        await product.start("service")
        await product.start("consumers")
        async with person(product) as ada:
            upload = await ada.upload(prepared, **object_triggers.DETAILS)
            await product.until(object_triggers.STATUS, upload["attempt_id"], "ready")
