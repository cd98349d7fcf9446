"""Over HTTP: an admin retries and resets the voice of an employee, and members follow its attempt."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from tests.backend.following import headers, serving
from tests.database.situations import fail
from tests.database.test_employee_voices import Staffed
from tests.fixture import Fixture


async def test_an_admin_recovers_and_members_follow(given: Fixture, tmp_path: Path) -> None:
    acme, stranger = Staffed(given), given.user()
    fail(given, attempt := acme.queued())
    voice, events = f"/v1/employees/{acme.employee}/voice", f"/v1/voice-clone-attempts/{attempt}/events"
    async with (
        serving(tmp_path, given.database.service) as service,
        httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=60) as http,
    ):
        for move in ("retry", "reset"):
            for user, status in ((acme.member, 403), (stranger, 404)):
                answer = await http.post(f"{voice}/{move}", headers=headers(user))
                assert answer.status_code == status, answer.text
        again = await http.post(f"{voice}/retry", headers=headers(acme.admin))
        assert (again.status_code, again.json()["status"]) == (202, "queued")
        twice = await http.post(f"{voice}/retry", headers=headers(acme.admin))
        assert (twice.status_code, twice.json()["code"]) == (409, "nothing_to_retry")
        assert (await http.get(events, headers=headers(stranger))).status_code == 404
        async with http.stream("GET", events, headers=headers(acme.member)) as stream:
            assert stream.status_code == 200
            seen = [line async for line in first_events(stream, 5)]
        assert '"events":["retried"]' in seen[-1]
        reset = await http.post(f"{voice}/reset", headers=headers(acme.admin))
        assert (reset.status_code, reset.json()["cancel_reason"]) == (200, "reset")


async def first_events(stream: httpx.Response, count: int) -> AsyncIterator[str]:
    async for line in stream.aiter_lines():
        if line.startswith("data:"):
            yield line
            count -= 1
            if count == 0:
                return
