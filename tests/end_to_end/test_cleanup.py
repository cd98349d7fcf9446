"""The provider voice of a cancelled attempt is found and removed, also if a service dies meanwhile."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.end_to_end.conftest import Product, person

SHORT = {"orphan_grace": "0.2 s", "lost_message": "1 s"}


@pytest.fixture
def short_times(product: Product) -> Iterator[None]:
    with product.timeouts(SHORT):
        yield


async def abandoned_create(product: Product, prepared: bytes, provider: str) -> str:
    """The attempt's id: its create took effect, its worker was killed, and its consent is revoked."""
    service = await product.start("service", FINALIZE_WAIT_SECONDS="0")
    async with person(product) as ada:
        count = len(product.providers.calls(provider, "create")) + 1
        product.providers.fault(provider, "create", "hang", after_commit=True)
        upload = await ada.upload(prepared, provider=provider)
        assert (await ada.finalize(upload)).status_code == 202
        await asyncio.to_thread(product.providers.wait, provider, "create", count=count, phase="committed")
        await ada.client.service("DELETE", f"/v1/consents/{ada.consent}")
    await product.kill(service)
    product.providers.release()
    return upload["attempt_id"]


async def until_status(product: Product, attempt_id: str, status: str) -> None:
    await product.until(
        "select from voice_clone.enrollments where attempt_id = %s and status = %s", attempt_id, status
    )


@pytest.mark.usefixtures("short_times")
@pytest.mark.parametrize(
    "provider", ["qwen", *(pytest.param(each, marks=pytest.mark.long) for each in ("elevenlabs", "cartesia"))]
)
async def test_a_voice_whose_maker_died_is_found_and_removed(
    product: Product, prepared: bytes, provider: str
) -> None:
    attempt_id = await abandoned_create(product, prepared, provider)
    assert len(product.providers.voices(provider)) == 1
    await product.start("service")
    await product.start("consumers")
    await until_status(product, attempt_id, "removed")
    assert product.providers.voices(provider) == []


@pytest.mark.usefixtures("short_times")
async def test_a_removal_in_which_the_service_dies_is_looked_up_and_not_repeated(
    product: Product, prepared: bytes
) -> None:
    attempt_id = await abandoned_create(product, prepared, "elevenlabs")
    product.providers.fault("elevenlabs", "delete", "hang", after_commit=True)
    service = await product.start("service")
    consumers = await product.start("consumers")
    await asyncio.to_thread(product.providers.wait, "elevenlabs", "delete", phase="committed", timeout=30)
    await product.kill(service)
    await product.kill(consumers)
    product.providers.release()
    await until_status(product, attempt_id, "removing")
    await product.start("service")
    await product.start("consumers")
    await until_status(product, attempt_id, "removed")
    assert len(product.providers.calls("elevenlabs", "delete")) == 1
