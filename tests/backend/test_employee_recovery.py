"""Over HTTP: an admin retries and resets the voice of an employee, and members follow its attempt."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from msgspec import to_builtins
from psycopg.types.json import Jsonb

from backend.audio.inspect import AudioInspector
from tests.backend.following import headers, serving
from tests.database.situations import fail
from tests.database.test_employee_voices import Staffed
from tests.fixture import Fixture
from tests.simulators import spoken_sample

Answer = tuple[int, dict[str, Any]]
Code = tuple[int, str]


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


async def measure(acme: Staffed, attempt: UUID, folder: Path) -> None:
    """As the inspection of a sample that passed."""
    (path := folder / "sample.wav").write_bytes(spoken_sample(8.0))
    inspector = AudioInspector()
    measures = Jsonb(to_builtins(await inspector.inspect(path)))
    await inspector.aclose()
    with acme.given.superuser.transaction():
        acme.given.superuser.execute("set local session_replication_role = replica")  # they never change
        acme.given.superuser.execute(
            "update public.voice_samples set measures = %s where id = %s",
            (measures, acme.given.attempt(attempt)["sample_id"]),
        )


async def test_an_admin_moves_the_voice_to_another_provider_and_back(given: Fixture, tmp_path: Path) -> None:
    acme, stranger = Staffed(given), given.user()
    await measure(acme, old := acme.launchable(), tmp_path)
    voice = f"/v1/employees/{acme.employee}/voice"
    modal = {"MODAL_URL": "http://127.0.0.1:1", "MODAL_API_KEY": "sim-modal-0123456789"}
    async with (
        serving(tmp_path, given.database.service, **modal) as service,
        httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=60) as http,
    ):

        async def post(move: str, body: dict[str, object] | None = None, user: UUID = acme.admin) -> Answer:
            answer = await http.post(f"{voice}/{move}", headers=headers(user), json=body)
            return answer.status_code, answer.json()

        async def codes(move: str, body: dict[str, object] | None = None, user: UUID = acme.admin) -> Code:
            status, answer = await post(move, body, user)
            return status, str(answer["code"])

        wanted: dict[str, object] = {"provider": "modal", "switch_now": True}
        elsewhere: dict[str, object] = {"provider": "modal"}
        for move, body in (("move", wanted), ("retry", elsewhere), ("restore", None)):
            assert await codes(move, body, acme.member) == (403, "admin_required")
            assert await codes(move, body, stranger) == (404, "not_found")
        assert await codes("move", {"provider": "qwen"}) == (422, "provider_not_configured")
        assert await codes("move", {"provider": "modal"}) == (409, "switch_required")
        assert await codes("move", {"provider": "local", "switch_now": True}) == (409, "already_there")
        status, new = await post("move", wanted)
        assert (status, new["provider"], new["status"]) == (202, "modal", "queued")
        assert await codes("move", {"provider": "local"}) == (409, "move_in_progress")
        assert await codes("restore") == (409, "latest_not_failed")
        fail(given, UUID(str(new["attempt_id"])))
        assert await codes("move", {"provider": "local"}) == (404, "not_found")
        status, again = await post("retry", {"provider": "local"})
        assert (status, again["provider"], again["status"]) == (202, "local", "queued")
        fail(given, UUID(str(again["attempt_id"])))
        status, restored = await post("restore")
        assert (status, restored["attempt_id"], restored["status"]) == (200, str(old), "ready")
        gate = await http.get(f"/v1/employees/{acme.employee}/launch-gate", headers=headers(acme.member))
        assert gate.json()["launchable"] is True
