"""The page at / in a real browser: each scenario of tests/end_to_end/page/scenarios.mjs, in one Chromium."""

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scripts.local.supabase.auth_and_data import node
from scripts.migrations import ROOT
from tests.audio_samples import speech, wav
from tests.end_to_end.conftest import Product

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FOLDER = ROOT / "tests" / "end_to_end" / "page"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium: on Debian and Ubuntu, apt-get install chromium"
)


async def visit(product: Product, sample: Path, directory: Path, **more: str) -> dict[str, dict[str, Any]]:
    settings = {
        "chromium": CHROMIUM,
        "address": f"{product.stack.api_url}/",
        "supabaseUrl": product.stack.supabase_url,
        "sample": str(sample),
        "directory": str(directory),
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        str(node()),
        str(FOLDER / "drive.mjs"),
        msgspec.json.encode(settings).decode(),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return msgspec.json.decode(output)


async def test_every_scenario_of_the_page(product: Product, sample: Path, tmp_path: Path) -> None:
    await product.start("service", LEASE_SECONDS="30")
    await product.start("consumers")
    samples, rate = speech()
    short = tmp_path / "short.wav"
    short.write_bytes(wav(samples[:rate], rate))
    came = await visit(product, sample, tmp_path, short=str(short))
    failed = [f"{name}: {result['error']}" for name, result in came.items() if not result["ok"]]
    assert failed == [], "\n\n".join(failed)
    written = re.findall(r'^  "(.+)": async', (FOLDER / "scenarios.mjs").read_text(), re.MULTILINE)
    assert list(came) == written
    print({name: round(result["ms"] / 1000, 1) for name, result in came.items()})
