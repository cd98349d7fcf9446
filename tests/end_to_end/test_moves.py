"""Retry, reset and restore over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, get_args
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from backend.settings.providers import ProviderName
from tests.end_to_end.conftest import PATIENT, Person, Product, person
from tests.end_to_end.test_bad_input import answer, problem
from tests.end_to_end.test_reflection_voice import clone_file, gate, launchable

MOVES = ("retry", "reset", "restore")
PROVIDERS = sorted(get_args(ProviderName))  # the service of these tests has all of them


def all_but(*names: str) -> list[str]:
    return [each for each in PROVIDERS if each not in names]


@pytest_asyncio.fixture(loop_scope="session")
async def ada(product: Product) -> AsyncIterator[Person]:
    await product.start("service", **PATIENT)
    await product.start("consumers")
    async with person(product) as made:
        yield made


async def move(ada: Person, what: str, **more: Any) -> httpx.Response:
    return await answer(ada, "POST", f"/v1/reflections/{ada.reflection}/voice/{what}", **more)


async def failed(ada: Person, content: bytes, **fields: str) -> dict[str, Any]:
    """An attempt that its provider rejected once; a retry would succeed."""
    provider = "elevenlabs"
    how = {"status": 400, "code": "invalid_sample", "message": "Not this one."}
    ada.product.providers.fault(provider, "create", "error", **how)
    cloned = await clone_file(ada, content, **{"provider": provider, **fields})
    assert cloned.status_code == 202, cloned.text
    attempt = cloned.json()
    await ada.product.until(
        "select from public.voice_clone_attempts where id = %s and status = 'failed'", attempt["attempt_id"]
    )
    return attempt


async def test_what_failed_is_retried_and_gets_through(ada: Person, prepared: bytes) -> None:
    attempt = await failed(ada, prepared)
    retried = await move(ada, "retry")
    assert retried.status_code == 202, retried.text
    assert (retried.json()["attempt_id"], retried.json()["status"]) == (attempt["attempt_id"], "queued")
    await launchable(ada, attempt["attempt_id"])
    assert await gate(ada) == {"launchable": True, "blockers": []}
    refused = await move(ada, "retry")
    assert problem(refused) == (409, "nothing_to_retry")
    assert refused.json()["current_status"] == "ready"


async def test_a_reset_leaves_no_voice_and_its_history(ada: Person, prepared: bytes) -> None:
    attempt = (await clone_file(ada, prepared)).json()
    await launchable(ada, attempt["attempt_id"])
    first = await move(ada, "reset")
    assert (first.status_code, first.json()["status"], first.json()["cancel_reason"]) == (
        200, "cancelled", "reset",
    )  # fmt: skip
    assert (await gate(ada))["blockers"] == ["no_voice"]
    mirrored = "select from public.reflections where id = %s and voice ->> 'cloneStatus' = 'none'"
    await ada.product.until(mirrored, ada.reflection)
    again = await move(ada, "reset")
    assert (again.status_code, again.json()) == (200, first.json())
    listed = await answer(ada, "GET", f"/v1/reflections/{ada.reflection}/voice-clone-attempts")
    assert [each["attempt_id"] for each in listed.json()] == [attempt["attempt_id"]]
    assert (await answer(ada, "GET", f"/api/voices/{attempt['voice_id']}")).status_code == 200


async def test_the_voice_that_worked_is_restored(ada: Person, prepared: bytes) -> None:
    kept = (await clone_file(ada, prepared)).json()
    await launchable(ada, kept["attempt_id"])
    assert problem(await move(ada, "restore")) == (409, "latest_not_failed")
    newer = await failed(ada, prepared)
    assert (await gate(ada))["blockers"] == ["clone_failed"]
    restored = await move(ada, "restore")
    assert restored.status_code == 200, restored.text
    assert (restored.json()["attempt_id"], restored.json()["status"]) == (kept["attempt_id"], "ready")
    assert await gate(ada) == {"launchable": True, "blockers": []}
    mirrored = "select voice from public.reflections where id = %s and voice ->> 'attemptId' = %s"
    mirror = (await ada.product.until(mirrored, ada.reflection, kept["attempt_id"]))["voice"]
    assert (mirror["cloneStatus"], mirror["provider"]) == ("ready", kept["provider"])
    assert ada.product.attempt(newer["attempt_id"])["cancel_reason"] == "restored"
    speech = {"voice_id": kept["voice_id"], "text": "I am back."}
    assert (await answer(ada, "POST", "/api/generate", json=speech)).status_code == 200


async def test_a_voice_that_was_deleted_is_not_restored(ada: Person, prepared: bytes) -> None:
    kept = (await clone_file(ada, prepared)).json()
    await launchable(ada, kept["attempt_id"])
    await failed(ada, prepared)
    assert (await answer(ada, "DELETE", f"/api/voices/{kept['voice_id']}")).status_code == 204
    assert problem(await move(ada, "restore")) == (409, "nothing_to_restore")


async def test_the_same_sample_is_retried_at_another_provider(ada: Person, prepared: bytes) -> None:
    attempt = await failed(ada, prepared)
    path = f"/v1/reflections/{ada.reflection}"
    shown = (await answer(ada, "GET", f"{path}/voice")).json()
    assert shown["alternatives"] == all_but("elevenlabs")
    listed = (await answer(ada, "GET", f"{path}/voice-clone-attempts")).json()
    assert listed[0]["error"]["alternatives"] == all_but("elevenlabs")
    retried = await move(ada, "retry", json={"provider": "qwen"})
    assert retried.status_code == 202, retried.text
    newer = retried.json()
    assert newer["attempt_id"] != attempt["attempt_id"]
    assert (newer["provider"], newer["sample_id"], newer["status"]) == (
        "qwen",
        attempt["sample_id"],
        "queued",
    )
    await launchable(ada, newer["attempt_id"])
    shown = (await answer(ada, "GET", f"{path}/voice")).json()
    assert (shown["alternatives"], shown["gate"]["launchable"]) == ([], True)
    mirrored = "select voice from public.reflections where id = %s and voice ->> 'provider' = 'qwen'"
    await ada.product.until(mirrored, ada.reflection)
    listed = (await answer(ada, "GET", f"{path}/voice-clone-attempts")).json()
    assert [(each["provider"], each["status"]) for each in listed] == [
        ("qwen", "ready"),
        ("elevenlabs", "cancelled"),
    ]
    assert ada.product.providers.voices("elevenlabs") == []


async def test_finalize_names_the_providers_that_would_take_the_sample(ada: Person, prepared: bytes) -> None:
    how = {"status": 400, "code": "InvalidParameter", "message": "Not this one."}
    ada.product.providers.fault("qwen", "create", "error", **how)
    upload = await ada.upload(prepared, provider="qwen")
    body = {"voice_id": upload["voice_id"], "name": "Ada", "language": "en"}
    refused = await answer(ada, "POST", "/api/clone/finalize", json=body)
    assert refused.status_code == 502, refused.text
    assert refused.json()["alternatives"] == all_but("qwen")


async def test_only_a_provider_that_fits_is_named_and_taken(ada: Person, prepared: bytes) -> None:
    attempt = await failed(ada, prepared, language="sv")  # which Qwen does not speak
    path = f"/v1/reflections/{ada.reflection}/voice"
    assert (await answer(ada, "GET", path)).json()["alternatives"] == all_but("elevenlabs", "qwen")
    refused = await move(ada, "retry", json={"provider": "qwen"})
    assert problem(refused) == (422, "language_unsupported")
    body = {"sample_id": attempt["sample_id"], "name": "Ada", "provider": "qwen"}
    cloned = await answer(ada, "POST", f"{path}/clone", json=body)
    assert problem(cloned) == (422, "language_unsupported")
    assert (await gate(ada))["blockers"] == ["clone_failed"], "the failed one is still there"


async def test_a_result_that_comes_after_a_newer_sample_is_an_orphan(ada: Person, prepared: bytes) -> None:
    providers = ada.product.providers
    providers.fault("elevenlabs", "create", "hang", after_commit=True)
    older = (await clone_file(ada, prepared, provider="elevenlabs")).json()
    await asyncio.to_thread(providers.wait, "elevenlabs", "create", phase="committed")
    opened = await ada.open()
    assert ada.product.attempt(older["attempt_id"])["status"] == "processing", (
        "an opened upload changes nothing"
    )
    newer = (await clone_file(ada, prepared, provider="elevenlabs")).json()
    await launchable(ada, newer["attempt_id"])
    path = f"/v1/reflections/{ada.reflection}/voice"
    shown = (await answer(ada, "GET", path)).json()
    before = ada.product.attempt(older["attempt_id"])
    assert (before["status"], before["cancel_reason"]) == ("cancelled", "superseded")
    providers.release()
    orphan = await ada.product.until(
        "select provider_voice_id from voice_clone.enrollments where attempt_id = %s and status = 'orphaned'",
        older["attempt_id"],
    )
    assert ada.product.attempt(older["attempt_id"]) == before
    after = (await answer(ada, "GET", path)).json()
    assert {**after, "preview_url": None} == {**shown, "preview_url": None}
    assert ada.product.attempt(opened["attempt_id"])["status"] == "awaiting_upload"
    kept = ada.product.attempt(newer["attempt_id"])["provider_voice_id"]
    assert {voice["voice_id"] for voice in providers.voices("elevenlabs")} == {
        kept,
        orphan["provider_voice_id"],
    }


async def test_a_retry_at_a_provider_without_a_slot_is_refused(product: Product, prepared: bytes) -> None:
    await product.start("service", LEASE_SECONDS="30", QWEN_VOICE_SLOTS="7")
    await product.start("consumers")
    told = await product.until("select * from voice_clone.slots where provider = 'qwen' and slots = 7")
    product.row("select voice_clone.set_slots('qwen', %s, 0)", told["region"])
    async with person(product) as ada:
        attempt = await failed(ada, prepared)
        refused = await move(ada, "retry", json={"provider": "qwen"})
        assert problem(refused) == (409, "provider_full")
        assert refused.json()["alternatives"] == all_but("qwen")
        assert (await gate(ada))["blockers"] == ["clone_failed"]
        assert (await move(ada, "retry")).json()["attempt_id"] == attempt["attempt_id"]
        await launchable(ada, attempt["attempt_id"])
    product.row("select voice_clone.set_slots('qwen', %s, null)", told["region"])


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"json": {"provider": "nobody"}}, (422, "provider_not_configured")),
        ({"json": {"provider": 7}}, (422, "invalid_input")),
        ({"json": {"supplier": "qwen"}}, (422, "invalid_input")),
        ({"content": b"{"}, (400, "malformed_body")),
        ({"json": {"provider": "qwen"}}, (409, "nothing_to_retry")),
        ({"json": {}}, (409, "nothing_to_retry")),
    ],
)
async def test_a_retry_that_makes_no_sense_is_refused(
    ada: Person, sent: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert problem(await move(ada, "retry", **sent)) == expected


@pytest.mark.parametrize("what", MOVES)
async def test_a_move_that_makes_no_sense_is_refused(ada: Person, what: str) -> None:
    assert problem(await move(ada, what)) == (409, f"nothing_to_{what}")
    elsewhere = await answer(ada, "POST", f"/v1/reflections/{uuid4()}/voice/{what}")
    assert problem(elsewhere) == (404, "not_found")
    nobody = await move(ada, what, token="not-a-token")
    assert nobody.status_code == 401
    async with person(ada.product) as stranger:
        stranger.reflection = ada.reflection
        assert problem(await move(stranger, what)) == (404, "not_found")
