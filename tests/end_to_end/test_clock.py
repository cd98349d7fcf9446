"""Without a resident consumer: periodic sweeps and drains bring a sample to the launch gate."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import pytest_asyncio

from backend.app.queues import QUEUES
from tests.end_to_end.conftest import Person, Product, person
from tests.end_to_end.test_reflection_voice import clone_file, gate, launchable


@pytest_asyncio.fixture(loop_scope="session")
async def ada(product: Product) -> AsyncIterator[Person]:
    await product.start("service")
    async with person(product) as made:
        yield made


@asynccontextmanager
async def clock(product: Product) -> AsyncIterator[None]:
    """Like pg_cron with pg_net: the sweep and a drain of each queue, repeatedly."""
    headers = {"authorization": f"Bearer {product.stack.internal_token}"}
    url = f"{product.stack.api_url}/internal"

    async def tick(path: str, body: dict[str, float]) -> None:
        async with httpx.AsyncClient(timeout=60, trust_env=False, headers=headers) as http:
            while True:
                answer = await http.post(f"{url}/{path}", json=body)
                assert answer.status_code == 200, answer.text
                await asyncio.sleep(0.1)

    paths = ["sweep", *(f"queues/{queue}/drain" for queue in QUEUES)]
    ticks = [asyncio.create_task(tick(path, {"seconds": 1.0} if "/" in path else {})) for path in paths]
    try:
        yield
    finally:
        broken = [task.exception() for task in ticks if task.done()]
        for task in ticks:
            task.cancel()
        await asyncio.gather(*ticks, return_exceptions=True)
        assert not broken, broken


@pytest.mark.parametrize("provider", ["local", "elevenlabs"])
async def test_a_clock_does_what_consumers_do(ada: Person, prepared: bytes, provider: str) -> None:
    async with clock(ada.product):
        attempt_id = (await clone_file(ada, prepared, provider=provider)).json()["attempt_id"]
        await launchable(ada, attempt_id)
        mirrored = (
            "select from public.reflections where id = %s and (voice ->> 'previewRequired')::boolean = false"
        )
        await ada.product.until(mirrored, ada.reflection)
    assert await gate(ada) == {"launchable": True, "blockers": []}
