"""A worker killed, or Postgres restarted, at each point of its step: ready, synced, one voice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product as product_of
from typing import LiteralString

import httpx
import pytest

from scripts.local.supabase.processes import Child
from tests.end_to_end.conftest import Product, person

WAITING: LiteralString = """
    select from pg_stat_activity where usename = 'voice_clone_service' and wait_event_type = 'Lock'
"""
POINTS = ("before the intent", "after the intent", "inside the call", "after the call", "in the sync")
DESCRIBING = {
    "qwen": "list",
    "elevenlabs": "get",
    "cartesia": "get",
}  # what each adapter calls to describe a voice


@asynccontextmanager
async def stuck_at(
    product: Product, provider: str, point: str, attempt_id: str, operation: str = "create"
) -> AsyncIterator[None]:
    """The service processes the attempt up to this point and stops there."""
    url = f"{product.stack.api_url}/internal/voice-clone-attempts/{attempt_id}/process"
    headers = {"authorization": f"Bearer {product.stack.internal_token}"}
    seen = len(product.providers.calls(provider, operation))
    table = {"before the intent": "voice_clone.enrollments", "after the call": "public.voices"}.get(point)
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        locker = product.connect()
        if table:
            locker.execute(f"begin; lock table {table} in access exclusive mode".encode())
        else:
            product.providers.fault(provider, operation, "hang", after_commit=point == "inside the call")
        asked = asyncio.create_task(http.post(url, headers=headers, json={}))
        try:
            if table:
                await product.until(WAITING)
            else:
                phase = "committed" if point == "inside the call" else "arrived"
                await asyncio.to_thread(
                    product.providers.wait, provider, operation, count=seen + 1, phase=phase
                )
            yield
        finally:
            locker.close()  # and with it the lock
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)


async def crash(product: Product, what: str, service: Child) -> None:
    if what == "worker":
        await product.kill(service)
        return
    cluster = product.stack.cluster
    port = cluster.port
    cluster.stop(immediately=True)
    cluster.start(port=port)


def is_ordinary(provider: str, what: str, point: str) -> bool:
    """Another adapter takes the same steps and has tests of its own: of it one, at the worst point."""
    return provider == "qwen" or (provider, what, point) == ("elevenlabs", "worker", "inside the call")


@pytest.mark.parametrize(
    ("provider", "what", "point"),
    [
        pytest.param(*each, marks=() if is_ordinary(*each) else pytest.mark.long)
        for each in product_of(DESCRIBING, ("worker", "postgres"), POINTS)
    ],
)
async def test_a_crash_makes_no_second_voice(
    product: Product, prepared: bytes, provider: str, point: str, what: str
) -> None:
    service = await product.start("service", FINALIZE_WAIT_SECONDS="0", MAX_JOBS_PER_USER="1")
    async with person(product) as ada:
        upload = await ada.upload(prepared, provider=provider)
        attempt_id = upload["attempt_id"]
        queue(product, upload)
        operation = DESCRIBING[provider] if point == "in the sync" else "create"
        async with stuck_at(product, provider, point, attempt_id, operation):
            await crash(product, what, service)
        product.providers.release()
        if what == "worker":
            await product.start("service")
        await product.start("consumers")
        await product.until(
            "select from public.voice_clone_attempts where id = %s and 'failed' in (status, runtime_status)"
            " or id = %s and runtime_status = 'synced'",
            attempt_id,
            attempt_id,
        )
    attempt = product.attempt(attempt_id)
    states = (attempt["status"], attempt["runtime_status"])
    assert states == ("ready", "synced"), attempt["error_code"]
    assert [voice["voice_id"] for voice in product.providers.voices(provider)] == [
        attempt["provider_voice_id"]
    ]
    assert attempt["process_count"] <= attempt["process_budget"]


def queue(product: Product, upload: dict[str, str]) -> None:
    """Queue the attempt as finalize does, without processing it inline."""
    product.row(
        """
        select q.id from public.voice_clone_attempts a
        join public.voice_samples s on s.id = a.sample_id
        cross join lateral voice_clone.claim_upload(a.id, a.user_id, 'test') c
        cross join lateral voice_clone.complete_sample(
          s.id, c.lease_epoch, s.content_type, s.bytes, '{}', s.path, s.bytes) completed
        cross join lateral voice_clone.queue_attempt(a.id, a.user_id, 'Ada', 'en', null, 0) q
        where a.id = %s
        """,
        upload["attempt_id"],
    )
