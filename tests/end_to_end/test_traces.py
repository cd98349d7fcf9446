"""One clone is one trace, from its request to the provider's call, over processes and after a crash."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from psycopg import sql

from tests.collector import Collector, Seen, collecting, drawn
from tests.end_to_end.conftest import Product, person

OTHERS = "11111111111111111111111111111111"
SWEPT = ("voice_runtime_sync", "voice_preview")  # what a ready attempt waits for, the first one first
WRITE_TO = os.environ.get("LIKENESS_TRACE")  # a file that gets the trace of the test, for the docs


@pytest.fixture
async def collector(product: Product) -> AsyncIterator[Collector]:
    async with collecting() as started:
        yield started
        await product.stop()  # without a collector its processes would wait for one as they end


def named(spans: list[Seen], name: str) -> list[Seen]:
    return [each for each in spans if each.name == name]


async def trace_with(collector: Collector, trace: str, *names: str) -> list[Seen]:
    """The spans of this trace, once it has one of each name."""
    for name in names:
        await collector.until(lambda each, name=name: (each.trace, each.name) == (trace, name))
    return [each for each in collector.spans if each.trace == trace]


async def test_a_clone_is_one_trace_over_both_processes(
    product: Product, sample: Path, collector: Collector
) -> None:
    settings = {"VOICE_PROVIDER": "qwen", **collector.settings()}
    await product.start("service", **settings)
    await product.start("consumers", **settings)
    async with person(product) as ada:
        upload = await ada.upload(await asyncio.to_thread(sample.read_bytes), provider="qwen")
        sent = {"traceparent": f"00-{OTHERS}-2222222222222222-01"}
        body = {"voice_id": upload["voice_id"], "name": "Ada Lovelace", "language": "en"}
        answer = await ada.client.service("POST", "/api/clone/finalize", json=body, headers=sent)
        assert answer.status_code in (201, 202), answer.text
    begun = await collector.until(lambda each: each.name == "POST /api/clone/finalize")
    spans = await trace_with(
        collector, begun.trace, "qwen create", "voice_preview handle", "step voice_preview"
    )
    assert {each.process for each in spans} == {"likeness-service", "likeness-consumers"}
    (root,) = named(spans, "POST /api/clone/finalize")
    assert (root.parent, root.links) == ("", [OTHERS]), "a client's trace is linked, and never continued"
    by_id = {each.id: each for each in spans}
    (create,) = named(spans, "qwen create")
    above = create
    while above.parent:
        above = by_id[above.parent]
    assert above == root
    assert create.attributes["likeness.outcome"] == "2xx"
    (step,) = named(spans, "step voice_preview")
    internal = by_id[step.parent]
    handled = by_id[internal.parent]
    assert internal.name.startswith("POST /internal/")
    assert (handled.name, handled.process) == ("voice_preview handle", "likeness-consumers")
    assert handled.attributes["likeness.queue_wait_seconds"] >= 0
    assert handled.attributes["likeness.outcome"] == "done"
    attempt = product.row(
        "select id from public.voice_clone_attempts where voice_id = %s", upload["voice_id"]
    )
    assert handled.attributes["likeness.id"] == str(attempt["id"])
    everything = " ".join(f"{each.name} {each.attributes} {each.failed}" for each in collector.spans)
    label = product.row(
        "select label, provider_voice_id from voice_clone.enrollments where attempt_id = %s", attempt["id"]
    )
    for secret in ("Ada", ada.consent, label["label"], label["provider_voice_id"], "http://", upload["path"]):
        assert secret not in everything, secret
    if WRITE_TO:
        await asyncio.to_thread(Path(WRITE_TO).write_text, drawn(spans))


async def test_what_follows_a_crash_is_in_the_same_trace(
    product: Product, sample: Path, collector: Collector
) -> None:
    """The service dies in the create, with the spans of its request. The message still has their trace."""
    settings = {"VOICE_PROVIDER": "qwen", **collector.settings()}
    service = await product.start("service", **settings)
    product.providers.fault("qwen", "create", "hang")
    content = await asyncio.to_thread(sample.read_bytes)
    async with person(product) as ada:
        upload = await ada.upload(content, provider="qwen")
        asked = asyncio.create_task(ada.finalize(upload))
        message = await product.until(
            "select q.message ->> 'traceparent' as traceparent from pgmq.q_voice_clone_process q"
            " join public.voice_clone_attempts a on a.id::text = q.message ->> 'id'"
            " join voice_clone.enrollments e on e.attempt_id = a.id where a.voice_id = %s",
            upload["voice_id"],
        )
        await product.kill(service)
        await asyncio.gather(asked, return_exceptions=True)
        product.providers.clear_faults()
        await product.start("service", **settings)
        await product.start("consumers", SWEEP_SECONDS="0", **settings)
        ready = "select from public.voice_clone_attempts where voice_id = %s and status = 'ready'"
        await product.until(ready, upload["voice_id"], seconds=60)
    begun = message["traceparent"][3:35]
    spans = await trace_with(collector, begun, "voice_clone_process handle", "enroll", "qwen create")
    assert {each.process for each in spans} == {"likeness-service", "likeness-consumers"}


async def test_what_the_sweep_sends_begins_a_trace_with_a_link(
    product: Product, sample: Path, collector: Collector
) -> None:
    settings = collector.settings()
    await product.start("service", **settings)
    content = await asyncio.to_thread(sample.read_bytes)
    async with person(product) as ada:
        upload = await ada.upload(content)
        assert (await ada.finalize(upload)).status_code in (201, 202)
        with product.connect() as connection:
            for queue in SWEPT:
                connection.execute(sql.SQL("delete from pgmq.{}").format(sql.Identifier(f"q_{queue}")))
            connection.execute("update voice_clone.deadlines set sweep_at = now() - interval '1 s'")
        token = product.stack.secrets.internal_token
        swept = await ada.client.service(
            "POST", "/internal/sweep", json={}, headers={"authorization": f"Bearer {token}"}
        )
        assert swept.status_code == 200, swept.text
        await product.start("consumers", SWEEP_SECONDS="0", **settings)
        handled = await collector.until(lambda each: each.name.removesuffix(" handle") in SWEPT)
    sweep = await collector.until(lambda each: each.name == "POST /internal/sweep")
    assert (handled.parent, handled.links) == ("", [sweep.trace])
    assert handled.trace != sweep.trace
