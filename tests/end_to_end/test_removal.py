"""What is deleted, revoked or erased: unreadable at once, then gone from Storage and from the provider."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import psycopg
import pytest
import pytest_asyncio

from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_bad_input import answer, problem
from tests.end_to_end.test_reflection_voice import clone_file, gate, launchable


@pytest_asyncio.fixture(loop_scope="session")
async def ada(product: Product) -> AsyncIterator[Person]:
    await product.start("service", LEASE_SECONDS="30")
    await product.start("consumers")
    async with person(product) as made:
        yield made


async def until_empty(ada: Person, folder: str) -> None:
    empty = "select from (select count(*) as n from storage.objects where name like %s) found where n = 0"
    await ada.product.until(empty, f"{folder}%")


async def stored(ada: Person, path: str) -> httpx.Response:
    """An object, read with the user's own token."""
    async with httpx.AsyncClient(trust_env=False) as http:
        url = f"{ada.product.stack.supabase_url}/storage/v1/object/authenticated/{path}"
        return await http.get(url, headers=ada.client.headers)


def hidden(ada: Person, user: str) -> int:
    """How many of a user's objects the policies of Storage show to that user."""
    with ada.product.connect() as connection, connection.transaction():
        connection.execute(
            "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)",
            (f'{{"sub": "{user}", "role": "authenticated"}}',),
        )
        row = connection.execute("select count(*) as n from storage.objects").fetchone()
        assert row is not None
        return row["n"]


async def test_a_deleted_voice_leaves_no_recording_and_no_preview(ada: Person, prepared: bytes) -> None:
    attempt = (await clone_file(ada, prepared)).json()
    await launchable(ada, attempt["attempt_id"])
    row = ada.product.attempt(attempt["attempt_id"])
    folder = f"{row['user_id']}/{row['sample_id']}"
    shown = (await answer(ada, "GET", f"/v1/reflections/{ada.reflection}/voice")).json()
    signed = shown["preview_url"]
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(signed)).status_code == 200
        assert (await stored(ada, f"voice-samples/{folder}/sample.wav")).status_code == 200
        assert (await answer(ada, "DELETE", f"/api/voices/{attempt['voice_id']}")).status_code == 204
        assert (await stored(ada, f"voice-samples/{folder}/sample.wav")).status_code in (400, 404)
        assert (await stored(ada, f"voice-samples/{folder}/prepared.wav")).status_code in (400, 404)
        assert hidden(ada, str(row["user_id"])) == 0, "at once, before anything is removed"
        await until_empty(ada, folder)
        await until_empty(ada, f"{row['user_id']}/{attempt['attempt_id']}")
        assert (await http.get(signed)).status_code in (400, 404), "also by an address that was signed before"
    speech = {"voice_id": attempt["voice_id"], "text": "Hello."}
    assert problem(await answer(ada, "POST", "/api/generate", json=speech)) == (404, "not_found")
    shown = (await answer(ada, "GET", f"/v1/reflections/{ada.reflection}/voice")).json()
    assert (shown["preview_url"], shown["gate"]["launchable"]) == (None, False)


@pytest.mark.parametrize("provider", ["qwen", "elevenlabs"])
async def test_a_revoked_voice_leaves_its_provider(ada: Person, prepared: bytes, provider: str) -> None:
    attempt = (await clone_file(ada, prepared, provider=provider)).json()
    await launchable(ada, attempt["attempt_id"])
    assert len(ada.product.providers.voices(provider)) == 1
    await answer(ada, "DELETE", f"/v1/consents/{ada.consent}")
    assert (await gate(ada))["blockers"] == ["no_voice"]
    removed = "select from voice_clone.enrollments where attempt_id = %s and status = 'removed'"
    await ada.product.until(removed, attempt["attempt_id"])
    assert ada.product.providers.voices(provider) == []
    row = ada.product.attempt(attempt["attempt_id"])
    await until_empty(ada, f"{row['user_id']}/{attempt['attempt_id']}")


async def test_a_deleted_user_leaves_nothing_but_the_record(ada: Person, prepared: bytes) -> None:
    attempt = (await clone_file(ada, prepared, provider="qwen")).json()
    await launchable(ada, attempt["attempt_id"])
    await answer(ada, "POST", f"/v1/reflections/{ada.reflection}/sessions")
    user = str(ada.product.attempt(attempt["attempt_id"])["user_id"])
    with ada.product.connect() as connection, connection.transaction():
        connection.execute("set local role supabase_auth_admin")  # as Auth's admin API deletes
        connection.execute("delete from auth.users where id = %s", (user,))
    assert hidden(ada, user) == 0
    await until_empty(ada, user)
    removed = "select from voice_clone.enrollments where attempt_id = %s and status = 'removed'"
    await ada.product.until(removed, attempt["attempt_id"])
    assert ada.product.providers.voices("qwen") == []
    row = ada.product.row("select user_id from public.voice_consents where id = %s", ada.consent)
    assert row["user_id"] is None
    assert ada.product.attempt(attempt["attempt_id"])["user_id"] is None
    gone = await answer(ada, "GET", f"/v1/reflections/{ada.reflection}/voice")
    assert problem(gone) == (404, "not_found")


async def test_an_erasure_is_partial_while_a_provider_is_down_and_is_completed_later(
    ada: Person, prepared: bytes
) -> None:
    for provider in ("qwen", "elevenlabs"):
        await launchable(ada, (await clone_file(ada, prepared, provider=provider)).json()["attempt_id"])
    ada.product.providers.fault("elevenlabs", "delete", "error", status=503, times=1000)
    asked = await answer(ada, "DELETE", "/v1/me")
    assert asked.status_code == 202
    path = f"/v1/me/erasures/{asked.json()['erasure']['erasure_id']}"

    async def confirmed() -> dict[str, bool]:
        places = (await answer(ada, "GET", path)).json()["erasure"]["places"]
        return {place["name"]: place["confirmed_at"] is not None for place in places}

    await ada.product.until(
        "select from voice_clone.enrollments where provider = 'qwen' and status = 'removed'"
    )
    await ada.product.until("select from voice_clone.enrollments where status = 'removing'")
    found = await confirmed()
    assert (found["qwen singapore"], found["elevenlabs"], found["rows"]) == (True, False, True)
    assert ada.product.providers.voices("qwen") == []
    ada.product.providers.clear_faults()
    with ada.product.connect() as connection:  # hours later
        connection.execute("update voice_clone.enrollments set sweep_at = now() where status = 'removing'")
        connection.execute("update voice_clone.object_removals set final_at = now(), sweep_at = now()")
        connection.execute("select voice_clone.sweep(500)")
    await ada.product.until(
        "select from (select count(*) as n from voice_clone.object_removals) x where n = 0"
    )
    await ada.product.until(
        "select from voice_clone.enrollments where provider = 'elevenlabs' and status = 'removed'"
    )
    assert set((await confirmed()).values()) == {True}
    assert ada.product.providers.voices("elevenlabs") == []
    assert (await answer(ada, "GET", path)).json()["erasure"]["status"] == "complete"


async def test_a_new_voice_gets_the_slot_of_a_deleted_one(product: Product, prepared: bytes) -> None:
    # An account of its own: voices that other tests left would still be on their way out of the other.
    key = "sk-sim-of-its-own-account"
    await product.start("service", LEASE_SECONDS="30", QWEN_VOICE_SLOTS="1000", QWEN_API_KEY=key)
    await product.start("consumers")
    with product.connect() as connection:
        limits = "update voice_clone.timeouts set value = '1 s' where name = 'slot_wait'"
        connection.execute(limits)
    async with person(product) as ada:
        first = (await clone_file(ada, prepared, provider="qwen")).json()
        await launchable(ada, first["attempt_id"])
        limited = "select from voice_clone.slots where provider = 'qwen' and slots = 1000"
        await product.until(limited)
        made = len(product.providers.voices("qwen"))
        held = product.row(
            "select voice_clone.slots_taken(s.provider, s.region, 10000, s.accounts) as count"
            " from voice_clone.slots s where s.provider = 'qwen' and s.slots = 1000"
        )["count"]
        with product.connect() as connection:
            connection.execute("update voice_clone.slots set slots = %s where provider = 'qwen'", (held,))
        full = await clone_file(ada, prepared, provider="qwen")
        assert problem(full) == (409, "provider_full")
        await answer(ada, "DELETE", f"/api/voices/{first['voice_id']}")
        second = await clone_file(ada, prepared, provider="qwen")
        assert second.status_code == 202, second.text
        ready = "select from public.voice_clone_attempts where id = %s and status = 'ready'"
        await product.until(ready, second.json()["attempt_id"], seconds=60)
        assert len(product.providers.voices("qwen")) == made
    with product.connect() as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("update voice_clone.timeouts set value = null where name = 'slot_wait'")


async def test_speech_that_runs_while_its_consent_is_revoked_is_not_sent(
    ada: Person, prepared: bytes
) -> None:
    attempt = (await clone_file(ada, prepared, provider="elevenlabs")).json()
    await launchable(ada, attempt["attempt_id"])
    ada.product.providers.fault("elevenlabs", "speech", "latency", seconds=3)
    speech = {"voice_id": attempt["voice_id"], "text": "Hello."}
    speaking = asyncio.create_task(answer(ada, "POST", "/api/generate", json=speech))
    await asyncio.to_thread(ada.product.providers.wait, "elevenlabs", "speech", count=2)
    await answer(ada, "DELETE", f"/v1/consents/{ada.consent}")
    assert problem(await speaking) == (404, "not_found")
