"""A voice that ElevenLabs must verify, from the file to the launch gate, or to the owner's error."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_reflection_voice import clone_file, gate, launchable


@pytest.fixture
def short_waits(product: Product) -> Iterator[None]:
    """Long enough for the sweep to serve the second one, which the queue does not hold."""
    with product.connect() as connection:
        before = connection.execute("select name, value from voice_clone.timeouts").fetchall()
        connection.execute(
            "update voice_clone.timeouts set value = '1 s' where name in ('queue_hold', 'verification_poll')"
        )
        yield
        for row in before:
            connection.execute("update voice_clone.timeouts set value = %(value)s where name = %(name)s", row)


@pytest_asyncio.fixture(loop_scope="session")
async def ada(product: Product, short_waits: None) -> AsyncIterator[Person]:
    await product.start("service")
    await product.start("consumers", SWEEP_SECONDS="0.2")
    async with person(product) as made:
        yield made


async def test_a_voice_is_launchable_once_it_is_verified(ada: Person, prepared: bytes) -> None:
    ada.product.providers.fault("elevenlabs", "create", "verification_required", polls=2)
    attempt_id = (await clone_file(ada, prepared, provider="elevenlabs")).json()["attempt_id"]
    seen = "select from public.voice_clone_attempts where id = %s and status = 'verifying'"
    await ada.product.until(seen, attempt_id)
    assert (await gate(ada))["launchable"] is False
    await launchable(ada, attempt_id)
    assert await gate(ada) == {"launchable": True, "blockers": []}
    attempt = ada.product.attempt(attempt_id)
    assert attempt["verify_count"] == 2
    assert len(ada.product.providers.voices("elevenlabs")) == 1


async def test_a_voice_that_is_refused_tells_its_owner_what_to_do(ada: Person, prepared: bytes) -> None:
    ada.product.providers.fault("elevenlabs", "create", "verification_required", polls=1, refused=True)
    attempt_id = (await clone_file(ada, prepared, provider="elevenlabs")).json()["attempt_id"]
    mirrored = "select voice from public.reflections where id = %s and voice ->> 'cloneStatus' = 'failed'"
    voice = (await ada.product.until(mirrored, ada.reflection))["voice"]
    assert (voice["attemptId"], voice["error"]["code"]) == (attempt_id, "verification_refused")
    assert "Record another sample" in voice["error"]["message"]
    assert (await gate(ada))["launchable"] is False
