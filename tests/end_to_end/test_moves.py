"""The owner's moves over HTTP: what failed is tried again, a voice is taken away, and comes back."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_bad_input import answer, problem
from tests.end_to_end.test_reflection_voice import clone_file, gate, launchable

MOVES = ("retry", "reset", "restore")


@pytest_asyncio.fixture(loop_scope="session")
async def ada(product: Product) -> AsyncIterator[Person]:
    await product.start("service", LEASE_SECONDS="30")
    await product.start("consumers")
    async with person(product) as made:
        yield made


async def move(ada: Person, what: str, **more: Any) -> httpx.Response:
    return await answer(ada, "POST", f"/v1/reflections/{ada.reflection}/voice/{what}", **more)


async def failed(ada: Person, content: bytes, provider: str = "elevenlabs") -> dict[str, Any]:
    """An attempt that its provider refused; it would take the sample the next time."""
    how = {"status": 400, "code": "invalid_sample", "message": "Not this one."}
    ada.product.providers.fault(provider, "create", "error", **how)
    cloned = await clone_file(ada, content, provider=provider)
    assert cloned.status_code == 202, cloned.text
    attempt = cloned.json()
    await ada.product.until(
        "select from public.attempts where id = %s and status = 'failed'", attempt["attempt_id"]
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
    assert refused.json()["currentStatus"] == "ready"


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
