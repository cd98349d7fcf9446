"""The main job in a real browser: microphone, MediaRecorder, CORS, and supabase-js as a page loads it."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scripts.local.supabase.auth_and_data import node
from scripts.migrations import ROOT
from tests.end_to_end.conftest import Product

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAGE = "tests/end_to_end/browser/page.html"
DRIVER = ROOT / "tests" / "end_to_end" / "browser" / "drive.mjs"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium: on Debian and Ubuntu, apt-get install chromium"
)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its base
        pass


@pytest.fixture
def page() -> Iterator[str]:
    """The page's address, which is neither the service's nor Supabase's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(ROOT))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{PAGE}"
        server.shutdown()


async def walk(product: Product, page: str, sample: Path, screenshot: Path) -> dict[str, Any]:
    settings = {
        "chromium": CHROMIUM,
        "page": page,
        "sample": str(sample),
        "screenshot": str(screenshot),
        "supabaseUrl": product.stack.supabase_url,
        "publishableKey": product.stack.publishable_key,
        "apiUrl": product.stack.api_url,
    }
    process = await asyncio.create_subprocess_exec(
        str(node()),
        str(DRIVER),
        msgspec.json.encode(settings).decode(),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return msgspec.json.decode(output)


async def test_a_page_records_a_voice_and_hears_it_speak(
    product: Product, page: str, sample: Path, tmp_path: Path
) -> None:
    await product.start("service", LEASE_SECONDS="30")
    await product.start("consumers")
    came = await walk(product, page, sample, tmp_path / "page.png")
    assert came["recorded"]["type"] == "audio/webm;codecs=opus"
    assert came["voice"]["name"] == "My voice"
    assert came["events"] == [
        "opened", "queued", "claimed", "enrolled", "runtime_syncing", "runtime_synced",
        "preview_rendering", "preview_rendered",
    ]  # fmt: skip
    assert came["gate"] == {"launchable": True, "blockers": []}
    assert came["previewSeconds"] > 1
    assert came["speechSeconds"] > 0.5
    assert came["mirror"]["cloneStatus"] == "ready"
    refused = came["refused"]
    assert (refused["status"], refused["code"]) == (404, "not_found")
    assert refused["requestId"], "a page may read the id that support will ask for"
    assert [text for text in came["complaints"] if "404" not in text] == [], (
        "but for the icon and the refusal"
    )
    assert (tmp_path / "page.png").stat().st_size > 1000
