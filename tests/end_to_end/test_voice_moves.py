"""A voice is moved to another provider: what works keeps working, and nothing is launched unheard."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_bad_input import answer, problem
from tests.end_to_end.test_reflection_voice import clone_file, gate, launchable

AWAY = {"QWEN_API_KEY": "", "QWEN_REGION": "", "QWEN_BASE_URL": ""}  # the provider is not set up any more


async def move(ada: Person, voice_id: str, provider: str | None, **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    body = {**({} if provider is None else {"provider": provider}), **more}
    ada_headers = {**ada.client.headers, **headers}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        url = f"{ada.product.stack.api_url}/api/voices/{voice_id}/move"
        return await http.post(url, json=body, headers=ada_headers)


async def voice(ada: Person, voice_id: str) -> dict[str, Any]:
    return (await answer(ada, "GET", f"/api/voices/{voice_id}")).json()


async def speak(ada: Person, voice_id: str) -> httpx.Response:
    return await answer(ada, "POST", "/api/generate", json={"voice_id": voice_id, "text": "Hello."})


async def ready(ada: Person, attempt_id: str) -> None:
    await ada.product.until(
        "select from public.voice_clone_attempts where id = %s and status = 'ready'", attempt_id
    )


async def launched(ada: Person, content: bytes, provider: str = "qwen") -> dict[str, Any]:
    cloned = (await clone_file(ada, content, provider=provider)).json()
    await launchable(ada, cloned["attempt_id"])
    return cloned


def change_sample(product: Product, attempt_id: str, change: str) -> None:
    """Past the rule that what was measured never changes."""
    update = f"update public.voice_samples set {change}"  # noqa: S608 - our own text
    sample = "(select sample_id from public.voice_clone_attempts where id = %s)"
    with product.connect() as connection, connection.transaction():
        connection.execute("set local session_replication_role = replica")
        changed = connection.execute(f"{update} where id = {sample}".encode(), (attempt_id,))
        assert changed.rowcount == 1


async def test_a_voice_that_works_is_moved_beside_and_its_owner_changes_over(
    product: Product, prepared: bytes
) -> None:
    await product.start("service", LEASE_SECONDS="30")
    await product.start("consumers")
    async with person(product) as ada:
        old = await launched(ada, prepared)
        key = {"idempotency-key": str(uuid4())}
        first = await move(ada, old["voice_id"], "modal", headers=key)
        assert first.status_code == 202, first.text
        new = first.json()
        again = await move(ada, old["voice_id"], "modal", headers=key)
        assert (again.status_code, again.json()) == (202, new), "the same key is the same move"
        assert (new["provider"], new["sample_id"], new["reflection_id"]) == ("modal", old["sample_id"], None)
        await ready(ada, new["attempt_id"])
        assert await gate(ada) == {"launchable": True, "blockers": []}
        shown = await voice(ada, old["voice_id"])
        assert (shown["moved_to"], shown["name"]) == (new["voice_id"], "Ada")
        assert shown["move"] == {
            "attempt_id": new["attempt_id"], "provider": "modal", "status": "ready", "error_code": None,
        }  # fmt: skip
        made = await voice(ada, new["voice_id"])
        assert (made["moved_from"], made["moved_to"], made["move"]) == (old["voice_id"], None, None)
        listed = (await answer(ada, "GET", "/api/voices")).json()
        assert {each["voice_id"]: each["moved_to"] for each in listed} == {
            old["voice_id"]: new["voice_id"],
            new["voice_id"]: None,
        }
        for each in (old, new):
            assert (await speak(ada, each["voice_id"])).status_code == 200
        assert problem(await move(ada, old["voice_id"], "modal")) == (409, "already_moved")

        changed = await move(ada, old["voice_id"], "modal", switch_now=True)
        assert changed.status_code == 202, changed.text
        assert changed.json()["reflection_id"] == ada.reflection
        assert not (await gate(ada))["launchable"], "the new voice has to be heard first"
        await launchable(ada, changed.json()["attempt_id"])
        assert await gate(ada) == {"launchable": True, "blockers": []}
        assert (await answer(ada, "DELETE", f"/api/voices/{old['voice_id']}")).status_code == 204
        assert (await speak(ada, new["voice_id"])).status_code == 200, "the sample is the new voice's as well"


async def test_a_voice_of_a_provider_that_is_gone_says_so_and_is_moved_with_its_reflection(
    product: Product, prepared: bytes
) -> None:
    service = await product.start("service", LEASE_SECONDS="30")
    consumers = await product.start("consumers")
    async with person(product) as ada:
        old = await launched(ada, prepared)
        await product.kill(service)
        service = await product.start("service", LEASE_SECONDS="30", VOICE_PROVIDER="modal", **AWAY)
        await product.kill(consumers)
        await product.start("consumers")
        silent = await speak(ada, old["voice_id"])
        assert problem(silent) == (503, "provider_not_configured")
        assert "POST /api/voices/{id}/move" in silent.json()["help"]
        assert '"voices_misplaced"' in service.output()
        ready_answer = await answer(ada, "GET", "/health/ready")
        assert ready_answer.json()["status"] == "ok"

        moved = await move(ada, old["voice_id"], None)
        assert moved.status_code == 202, moved.text
        new = moved.json()
        assert (new["provider"], new["reflection_id"]) == ("modal", ada.reflection), "the project's provider"
        await launchable(ada, new["attempt_id"])
        assert await gate(ada) == {"launchable": True, "blockers": []}
        assert (await speak(ada, new["voice_id"])).status_code == 200


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("qwen", (409, "already_there")),
        ("nobody", (422, "provider_not_configured")),
    ],
)
async def test_a_move_that_cannot_be_is_refused(
    product: Product, prepared: bytes, provider: str, expected: tuple[int, str]
) -> None:
    await product.start("service", LEASE_SECONDS="30")
    async with person(product) as ada:
        upload = await ada.upload(prepared, reflection_id=None, provider="qwen")
        made = (await ada.finalize(upload)).json()
        assert problem(await move(ada, made["voice_id"], provider)) == expected
        assert problem(await move(ada, str(uuid4()), "modal")) == (404, "not_found")
        async with person(product) as bob:
            assert problem(await move(bob, made["voice_id"], "modal")) == (404, "not_found")


async def test_a_sample_that_the_new_provider_would_not_take_is_refused_with_what_was_measured(
    product: Product, prepared: bytes
) -> None:
    await product.start("service", LEASE_SECONDS="30")
    async with person(product) as ada:
        upload = await ada.upload(prepared, reflection_id=None, provider="elevenlabs")
        made = (await ada.finalize(upload, language="sv")).json()
        assert problem(await move(ada, made["voice_id"], "qwen")) == (422, "language_unsupported")
        change_sample(product, upload["attempt_id"], "measures = measures || '{\"seconds\": 1.0}'")
        refused = await move(ada, made["voice_id"], "modal")
        assert problem(refused) == (422, "sample_too_short")
        assert refused.json()["findings"][0]["measured"] == 1.0
        change_sample(product, upload["attempt_id"], "measures = measures || '{\"seconds\": 9.0}'")
        change_sample(product, upload["attempt_id"], "status = 'removed', removed_at = now()")
        assert problem(await move(ada, made["voice_id"], "modal")) == (409, "sample_missing")
