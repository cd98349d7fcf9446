"""A check of voices whose service is killed: the next one goes on, closes no gate, and repeats no canary."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.end_to_end.conftest import Person, Product, person

SHORT = {"voice_check_lease": "2 s", "lost_message": "1 s", "lost_message_cap": "1 s", "new_voice": "0 s"}
DUE = """
update voice_clone.voice_checks
set due_at = now(), sweep_at = now(), after_voice = null, complete_at = null, lease_expires_at = null
where (provider, account) = (
  select v.tts_provider, v.provider_account from public.voices v where v.attempt_id = %s)
returning id
"""
VOICE = "select provider_voice_id from public.voices where attempt_id = %s"
COMPLETE = "select * from voice_clone.voice_checks where id = %s and complete_at is not null"


@pytest.fixture
def short_times(product: Product) -> Iterator[None]:
    with product.timeouts(SHORT):
        yield


async def silent_voice(product: Product, ada: Person, prepared: bytes) -> str:
    """Its attempt. It is the only voice of its account, and has not spoken for 200 days."""
    upload = await ada.upload(prepared, provider="qwen")
    await ada.finalize(upload)
    attempt = upload["attempt_id"]
    await product.until("select from public.voices where attempt_id = %s", attempt)
    with product.connect() as connection:
        connection.execute(
            "update public.voices set provider_account = 'elsewhere'"
            " where tts_provider = 'qwen' and attempt_id <> %s", (attempt,),
        )  # fmt: skip
        connection.execute(
            "update public.voices set created_at = now() - interval '200 days' where attempt_id = %s",
            (attempt,),
        )
    return attempt


@pytest.mark.usefixtures("short_times")
@pytest.mark.parametrize(("call", "spoken", "silent"), [("list", 1, 0), ("speech", 0, 1)])
async def test_a_check_survives_the_death_of_its_service(
    product: Product, prepared: bytes, call: str, spoken: int, silent: int
) -> None:
    """In the lookup nothing was said. In the canary one word was asked for, and nothing is known of it."""
    service = await product.start("service", PREVIEW_REQUIRED="false")
    async with person(product) as ada:
        attempt = await silent_voice(product, ada, prepared)
        voice = product.row(VOICE, attempt)["provider_voice_id"]
        # The stack is shared: the consumers also end what an earlier test left, a preview for example.
        label = voice if call == "speech" else None
        before = len(product.providers.calls("qwen", call, label))
        product.providers.fault("qwen", call, "hang", match=label)
        check = product.row(DUE, attempt)["id"]
        consumers = await product.start("consumers")
        await asyncio.to_thread(
            product.providers.wait, "qwen", call, count=before + 1, phase="arrived", label=label, timeout=60
        )
        await product.kill(service)
        await product.kill(consumers)
        product.providers.release()
        await product.start("service", PREVIEW_REQUIRED="false")
        await product.start("consumers")
        row = await product.until(COMPLETE, check)
        assert (row["silent"], row["error_code"]) == (silent, None)
        assert len(product.providers.calls("qwen", "speech", voice)) == 1
        has_spoken = product.row("select spoken_at from public.voices where attempt_id = %s", attempt)
        assert (has_spoken["spoken_at"] is not None) == bool(spoken)
        assert product.attempt(attempt)["status"] == "ready"
