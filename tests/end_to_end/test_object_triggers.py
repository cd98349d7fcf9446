"""A file that arrives makes the voice, whatever restarts meanwhile: an upload, or the recording of a call."""

import asyncio

import httpx

from tests.end_to_end import test_employees as employees
from tests.end_to_end.bad_files import BAD_FILES
from tests.end_to_end.conftest import POLL_SECONDS, Product, person
from tests.end_to_end.test_bad_input import answer, problem
from tests.end_to_end.test_crashes import crash

DETAILS = {"name": "Ada by herself", "language": "en", "transcript": "The north wind."}
BOTH_WAIT = """
select from pg_stat_activity where usename = 'supabase_storage_admin' and %s = any (pg_blocking_pids(pid))
having count(*) = 2
"""
CLONED = """
select count(*) as attempts, count(distinct a.provider_voice_id) as voices
from public.voice_clone_attempts a where a.employee_id = any (%s::uuid[])
having count(distinct a.employee_id) filter (where a.status = 'ready' and a.is_active) = 3
"""
STATUS = "select * from public.voice_clone_attempts where id = %s and status = %s"


async def test_a_file_that_arrives_makes_the_voice_although_postgres_restarts(
    product: Product, prepared: bytes
) -> None:
    service = await product.start("service")
    async with person(product) as ada:
        upload = await ada.upload(prepared, **DETAILS)
        assert product.attempt(upload["attempt_id"])["status"] == "awaiting_upload"
        await crash(product, "postgres", service)
        await service.await_url(f"{product.stack.api_url}/health/ready")
        await product.start("consumers")
        ready = await product.until(STATUS, upload["attempt_id"], "ready")
        assert (ready["name"], ready["language"], ready["process_count"]) == (DETAILS["name"], "en", 1)
        sample = product.row("select * from public.voice_samples where id = %s", ready["sample_id"])
        assert (sample["status"], sample["transcript"]) == ("ready", DETAILS["transcript"])
        late = await ada.finalize(upload)
        assert (late.status_code, late.json()["voice_id"]) == (201, upload["voice_id"])


async def test_recordings_that_arrive_while_postgres_is_killed_are_cloned_once_each(
    product: Product, prepared: bytes
) -> None:
    """One is stored before, and two are in the trigger: Storage's transactions end with Postgres."""
    service = await product.start("service")
    async with person(product) as ada:
        organization, first = await employees.hired(ada.client, product)
        rows = [{"org_id": organization, "full_name": f"Bo {number}"} for number in range(2)]
        made = await ada.client.gateway(
            "POST", "/rest/v1/employees?select=id", json=rows, headers={"prefer": "return=representation"}
        )
        people = [first, *(row["id"] for row in made.json())]
        for employee in people:
            await employees.consented(product, ada.client, employee)
        wanted = {"clone_recordings": True}
        await ada.client.gateway("PATCH", f"/rest/v1/organizations?id=eq.{organization}", json=wanted)
        await employees.record(product, first, prepared)
        locker = product.connect()
        locker.execute("begin; lock table voice_clone.recording_clones in share mode")
        arriving = [asyncio.create_task(insist(product, of, prepared)) for of in people[1:]]
        await product.until(BOTH_WAIT, locker.info.backend_pid)
        await crash(product, "postgres", service)
        locker.close()
        await asyncio.gather(*arriving)
        await service.await_url(f"{product.stack.api_url}/health/ready")
        await product.start("consumers")
        done = await product.until(CLONED, people, seconds=90)
        assert (done["attempts"], done["voices"]) == (3, 3), "each once"
        assert len(product.providers.voices("elevenlabs")) == 3


async def insist(product: Product, employee: str, recording: bytes) -> None:
    """Sent again while Storage has no database."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await employees.record(product, employee, recording)
            except (AssertionError, httpx.HTTPError):
                await asyncio.sleep(POLL_SECONDS)


async def test_a_file_that_is_refused_says_why_and_another_may_follow(
    product: Product, prepared: bytes
) -> None:
    await product.start("service")
    await product.start("consumers")
    make, _, code = BAD_FILES["ten seconds of silence"]
    async with person(product) as ada:
        upload = await ada.upload(make(), **DETAILS)
        noted = "select * from public.voice_clone_attempts where id = %s and error_code is not null"
        row = await product.until(noted, upload["attempt_id"])
        assert (row["status"], row["error_code"]) == ("awaiting_upload", code)
        await ada.put(upload, prepared)
        ready = await product.until(STATUS, upload["attempt_id"], "ready")
        assert ready["error_code"] is None


async def test_a_name_and_a_language_are_given_together(product: Product) -> None:
    await product.start("service")
    async with person(product) as ada:
        body = {"consent_id": ada.consent, "content_type": "audio/wav", "bytes": 1000}
        for details in ({"name": "Ada"}, {"language": "en"}, {"transcript": "hello"}):
            refused = await answer(ada, "POST", "/api/clone/upload-url", json=body | details)
            assert problem(refused) == (422, "invalid_input")
        assert (await ada.open(**DETAILS))["upload_url"]
