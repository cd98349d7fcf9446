"""A reflection's voice over HTTP: cloned from a file and from a sample, previewed, launched, reset."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest_asyncio

from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_bad_input import answer, problem


@pytest_asyncio.fixture(loop_scope="session")
async def ada(product: Product) -> AsyncIterator[Person]:
    await product.start("service", LEASE_SECONDS="30")
    await product.start("consumers")
    async with person(product) as made:
        yield made


async def clone_file(ada: Person, content: bytes, **fields: str) -> httpx.Response:
    data = {"consent_id": ada.consent, "name": "Ada", "language": "en", **fields}
    files = {"sample": ("sample.wav", content, "audio/wav")}
    return await answer(ada, "POST", f"/v1/reflections/{ada.reflection}/voice/clone", data=data, files=files)


async def launchable(ada: Person, attempt_id: str) -> None:
    """Wait for the preview, and confirm that it was heard."""
    rendered = "select from public.voice_clone_attempts where id = %s and preview_status = 'rendered'"
    await ada.product.until(rendered, attempt_id)
    heard = await answer(ada, "POST", f"/v1/reflections/{ada.reflection}/voice/preview/complete")
    assert heard.json()["preview_status"] == "completed"


async def gate(ada: Person) -> dict[str, Any]:
    return (await answer(ada, "GET", f"/v1/reflections/{ada.reflection}/launch-gate")).json()


async def test_a_file_is_cloned_in_one_request_and_its_sample_again(ada: Person, prepared: bytes) -> None:
    first = await clone_file(ada, prepared)
    assert first.status_code == 202, first.text
    await launchable(ada, first.json()["attempt_id"])
    assert await gate(ada) == {"launchable": True, "blockers": []}
    body = {"sample_id": first.json()["sample_id"], "name": "Ada again", "provider": "elevenlabs"}
    again = await answer(ada, "POST", f"/v1/reflections/{ada.reflection}/voice/clone", json=body)
    assert again.status_code == 202, again.text
    assert not (await gate(ada))["launchable"], "the newer attempt has to be heard first"
    await launchable(ada, again.json()["attempt_id"])
    shown = (await answer(ada, "GET", f"/v1/reflections/{ada.reflection}/voice-clone-attempts")).json()
    assert [(each["status"], each["cancel_reason"]) for each in shown] == [
        ("ready", None),
        ("cancelled", "superseded"),
    ]


async def test_an_attempt_tells_its_timeline(ada: Person, prepared: bytes) -> None:
    attempt_id = (await clone_file(ada, prepared)).json()["attempt_id"]
    await launchable(ada, attempt_id)
    path = f"/v1/reflections/{ada.reflection}/voice-clone-attempts/{attempt_id}"
    timeline = (await answer(ada, "GET", path)).json()
    assert [taken for event in timeline["events"] for taken in event["events"]] == [
        "opened", "queued", "claimed", "enrolled", "runtime_syncing", "runtime_synced",
        "preview_rendering", "preview_rendered", "preview_completed",
    ]  # fmt: skip
    assert timeline["attempt"]["status"] == "ready"


async def test_a_session_starts_only_through_the_gate(ada: Person, prepared: bytes) -> None:
    sessions = f"/v1/reflections/{ada.reflection}/sessions"
    refused = await answer(ada, "POST", sessions)
    assert problem(refused) == (409, "launch_blocked")
    assert refused.json()["blockers"] == ["no_voice"]
    attempt_id = (await clone_file(ada, prepared)).json()["attempt_id"]
    await launchable(ada, attempt_id)
    started = await answer(ada, "POST", sessions)
    assert (started.status_code, started.json()["attempt_id"]) == (201, attempt_id)


async def test_many_who_ask_the_gate_at_once_each_get_their_own_answer(ada: Person, prepared: bytes) -> None:
    attempt_id = (await clone_file(ada, prepared)).json()["attempt_id"]
    await launchable(ada, attempt_id)
    async with person(ada.product) as eve:
        own, others = f"/v1/reflections/{ada.reflection}/launch-gate", "/v1/reflections/{}/launch-gate"
        asked = [(ada, own), (eve, others.format(eve.reflection)), (eve, own), (ada, others.format(uuid4()))]
        answers = await asyncio.gather(*(answer(who, "GET", path) for who, path in asked * 20))
        for at in range(0, len(answers), len(asked)):
            ada_own, eve_own, *refused = answers[at : at + len(asked)]
            assert ada_own.json() == {"launchable": True, "blockers": []}
            assert eve_own.json() == {"launchable": False, "blockers": ["no_voice"]}
            assert [problem(each) for each in refused] == [(404, "not_found")] * 2


async def test_a_preview_can_be_rendered_again(ada: Person, prepared: bytes) -> None:
    attempt_id = (await clone_file(ada, prepared)).json()["attempt_id"]
    rendered = (
        "select preview_path from public.voice_clone_attempts where id = %s and preview_status = 'rendered'"
    )
    first = await ada.product.until(rendered, attempt_id)
    path = f"/v1/reflections/{ada.reflection}/voice"
    assert (await answer(ada, "POST", f"{path}/preview")).status_code == 202
    second = await ada.product.until(rendered, attempt_id)
    assert second != first
    url = (await answer(ada, "GET", path)).json()["preview_url"]
    async with httpx.AsyncClient(trust_env=False) as http:
        clip = await http.get(url)
    assert (clip.headers["content-type"], clip.content[:4]) == ("audio/wav", b"RIFF")


async def test_a_deleted_voice_closes_the_gate(ada: Person, prepared: bytes) -> None:
    attempt = (await clone_file(ada, prepared)).json()
    await launchable(ada, attempt["attempt_id"])
    assert (await answer(ada, "DELETE", f"/api/voices/{attempt['voice_id']}")).status_code == 204
    assert problem(await answer(ada, "DELETE", f"/api/voices/{attempt['voice_id']}")) == (404, "not_found")
    assert (await gate(ada))["blockers"] == ["no_voice"]
    mirrored = "select from public.reflections where id = %s and voice ->> 'cloneStatus' = 'none'"
    await ada.product.until(mirrored, ada.reflection)


async def test_a_revoked_consent_takes_the_voice_away(ada: Person, prepared: bytes) -> None:
    attempt = (await clone_file(ada, prepared)).json()
    await launchable(ada, attempt["attempt_id"])
    revoked = await answer(ada, "DELETE", f"/v1/consents/{ada.consent}")
    assert revoked.status_code == 200
    assert (await answer(ada, "DELETE", f"/v1/consents/{ada.consent}")).json() == revoked.json()
    assert (await gate(ada))["blockers"] == ["no_voice"]
    speech = {"voice_id": attempt["voice_id"], "text": "Hello."}
    assert problem(await answer(ada, "POST", "/api/generate", json=speech)) == (404, "not_found")
    assert problem(await clone_file(ada, prepared)) == (422, "consent_required")
    folder = f"{ada.product.attempt(attempt['attempt_id'])['user_id']}/{attempt['attempt_id']}"
    gone = "select from (select count(*) as n from storage.objects where name like %s) found where n = 0"
    await ada.product.until(gone, f"{folder}%")  # sample, prepared and preview


def untyped_form(file_field: str, content: bytes, fields: dict[str, str]) -> dict[str, Any]:
    """A form whose file has no type of its own, as the clients of some languages send it."""
    parts = [f'form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    parts.append(f'form-data; name="{file_field}"; filename="sample"\r\n\r\n'.encode() + content)
    body = b"".join(b"--limit\r\nContent-Disposition: " + part + b"\r\n" for part in parts) + b"--limit--\r\n"
    return {"content": body, "headers": {"content-type": "multipart/form-data; boundary=limit"}}


async def test_a_file_without_a_type_is_judged_by_content(ada: Person, prepared: bytes) -> None:
    fields = {"consent_id": ada.consent, "name": "Ada", "language": "en"}
    path = f"/v1/reflections/{ada.reflection}/voice/clone"
    cloned = await answer(ada, "POST", path, **untyped_form("sample", prepared, fields))
    assert cloned.status_code == 202, cloned.text
    stored = "select content_type from public.voice_samples where id = %s"
    assert ada.product.row(stored, cloned.json()["sample_id"])["content_type"] == "audio/wav"
    refused = await answer(ada, "POST", path, **untyped_form("sample", b"no audio at all", fields))
    assert problem(refused) == (400, "invalid_format")
    assert refused.json()["field"] == "sample"
    fields = {"consentId": ada.consent, "language": "en"}
    sent = await answer(ada, "POST", "/api/v1/voice-samples", **untyped_form("file", prepared, fields))
    assert sent.status_code == 202, sent.text
    refused = await answer(
        ada, "POST", "/api/v1/voice-samples", **untyped_form("file", b"no audio at all", fields)
    )
    assert (problem(refused), refused.json()["field"]) == ((400, "invalid_format"), "file")


async def test_a_form_without_its_sample_is_refused(ada: Person) -> None:
    path = f"/v1/reflections/{ada.reflection}/voice/clone"
    fields = {"consent_id": ada.consent, "name": "Ada", "language": "en"}
    for sent, expected in [
        ({"files": {"other": ("a", b"x")}}, (422, "sample_missing")),
        ({"files": {"sample": ("a.wav", b"nothing", "audio/wav")}}, (422, "invalid_input")),
        ({"files": {"sample": ("a.txt", b"nothing", "text/plain")}, "data": fields}, (400, "invalid_format")),
        ({"json": {"sample_id": "x", "name": "y"}}, (422, "invalid_input")),
        ({"content": b"{"}, (400, "malformed_body")),
    ]:
        assert problem(await answer(ada, "POST", path, **sent)) == expected, sent
