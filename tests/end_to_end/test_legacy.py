"""An older application's events over HTTP: recordings become voices, or the reason is stored."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_bad_input import problem

OUTBOX, CONVERSATION = "/internal/voice-clone-outbox", "/internal/conversation-ended"


class Sender:
    """The older application: it uploads recordings to Storage and posts their events."""

    def __init__(self, ada: Person) -> None:
        self.ada = ada
        self.product = ada.product
        row = self.product.row("select user_id from public.reflections where id = %s", ada.reflection)
        self.owner = str(row["user_id"])

    async def record(self, content: bytes, path: str | None = None) -> dict[str, str]:
        path = path or f"{self.owner}/conversations/{uuid4()}.wav"
        headers = {"authorization": f"Bearer {self.product.stack.secret_key}", "content-type": "audio/wav"}
        url = f"{self.product.stack.supabase_url}/storage/v1/object/voice-samples/{path}"
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            answer = await http.post(url, headers=headers, content=content)
        assert answer.is_success, answer.text
        return {"path": path}

    async def tell(self, route: str, event: str, token: str | None = None, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token or self.product.stack.internal_token}"}
        body = {"event_id": event, "reflection_id": self.ada.reflection, **more}
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            return await http.post(self.product.stack.api_url + route, headers=headers, json=body)

    async def outcome(self, route: str, event: str, **more: Any) -> tuple[str, str | None]:
        answer = await self.tell(route, event, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()["outcome"], answer.json()["code"]

    def attempts(self) -> int:
        return self.product.row(
            "select count(*) from public.voice_clone_attempts where user_id = %s", self.owner
        )["count"]


@asynccontextmanager
async def relay(url: str) -> AsyncIterator[str]:
    """A second address of the same server, closed when the block ends."""
    host, port = url.removeprefix("http://").split(":")
    writers: list[asyncio.StreamWriter] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while content := await reader.read(65_536):
            writer.write(content)
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(host, port)
        writers.extend((writer, there[1]))
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    server = await asyncio.start_server(connect, "127.0.0.1")
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()


@pytest_asyncio.fixture(loop_scope="session")
async def sender(product: Product) -> AsyncIterator[Sender]:
    await product.start("service", LEASE_SECONDS="30")
    async with person(product) as ada:
        yield Sender(ada)


@pytest.mark.parametrize("route", [OUTBOX, CONVERSATION])
async def test_a_recording_becomes_a_voice(sender: Sender, prepared: bytes, route: str) -> None:
    recording = await sender.record(prepared)
    event = {"event": str(uuid4()), "recording": recording, "name": "From before", "minutes": 3}
    accepted = await sender.tell(route, **event)
    assert (accepted.status_code, accepted.json()["outcome"]) == (200, "accepted"), accepted.text
    attempt_id = accepted.json()["attempt_id"]
    assert (await sender.tell(route, **event)).json() == accepted.json()
    await sender.product.start("consumers")
    heard = "select * from public.voice_clone_attempts where id = %s and preview_status = 'rendered'"
    attempt = await sender.product.until(heard, attempt_id)
    assert (attempt["source"], attempt["name"], attempt["status"]) == (
        "legacy_outbox", "From before", "ready",
    )  # fmt: skip
    assert sender.attempts() == 1
    again = await sender.outcome(route, str(uuid4()), recording=recording)
    assert again == ("skipped", "attempt_active")
    assert sender.attempts() == 1


async def test_a_recording_of_another_user_is_not_cloned(sender: Sender, prepared: bytes) -> None:
    async with person(sender.product) as bob:
        his = await Sender(bob).record(prepared)
    for path in (his["path"], f"{sender.owner}/../{his['path']}", sender.owner):
        refused = await sender.outcome(OUTBOX, str(uuid4()), recording={"path": path})
        assert refused == ("refused", "recording_not_owned")
    assert sender.attempts() == 0


async def test_an_unfit_recording_is_refused_with_what_is_wrong(sender: Sender, prepared: bytes) -> None:
    unfit = {
        "invalid_format": {"recording": await sender.record(b"no audio at all")},
        "sample_truncated": {"recording": await sender.record(prepared[:48_000])},
        "recording_missing": {"recording": {"path": f"{sender.owner}/gone.wav"}},
        "invalid_name": {"recording": await sender.record(prepared), "name": "a\nb"},
        "invalid_input": {"recording": {"bucket": "voice-samples"}},
        "provider_not_configured": {"recording": await sender.record(prepared), "provider": "nobody"},
    }
    found = {code: await sender.outcome(OUTBOX, code + sender.owner, **more) for code, more in unfit.items()}
    assert found == {code: ("refused", code) for code in unfit}
    assert sender.attempts() == 0
    right = {"recording": await sender.record(prepared)}
    put_right = await sender.outcome(OUTBOX, "recording_missing" + sender.owner, **right)
    assert put_right == ("accepted", None)


async def test_while_storage_is_away_nothing_is_decided(sender: Sender, prepared: bytes) -> None:
    recording, event = await sender.record(prepared), str(uuid4())
    async with relay(sender.product.stack.supabase_url) as url:
        await sender.product.start("service", SUPABASE_URL=url, SUPABASE_JWKS_URL="off")
    failed = await sender.tell(OUTBOX, event, recording=recording)
    assert problem(failed) == (503, "storage_unavailable")
    kept = sender.product.row("select * from voice_clone.legacy_events where event_id = %s", event)
    assert (kept["outcome"], kept["payload"]["recording"]) == ("received", recording)


async def test_only_the_internal_token_tells_of_events(sender: Sender) -> None:
    token = sender.ada.client.headers["authorization"].removeprefix("Bearer ")
    for route in (OUTBOX, CONVERSATION):
        assert (await sender.tell(route, "e", token=token)).status_code == 401
