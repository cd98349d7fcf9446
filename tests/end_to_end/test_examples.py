"""The examples, each with a client that is generated from the service's own document, run the main job."""

import asyncio
import os
import shutil
import wave
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from scripts.migrations import ROOT
from tests.end_to_end.conftest import Product

SECONDS = 60.0
COMMANDS = {
    "python": [
        [
            "openapi-python-client", "generate", "--url", "{service}/schema/openapi.json", "--meta", "none",
            "--config", "openapi-python-client.yaml", "--output-path", "likeness_client",
        ],
        ["python", "app.py", "{sample}", "{speech}"],
    ],
    "node": [["node_modules/.bin/openapi-ts"], ["node", "app.ts", "{sample}", "{speech}"]],
}  # fmt: skip


async def run(command: list[str], folder: Path, env: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(SECONDS):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def sign_up(product: Product) -> dict[str, str]:
    user = {"email": f"example-{uuid4().hex[:12]}@likeness.local", "password": uuid4().hex}
    async with httpx.AsyncClient(trust_env=False) as http:
        headers = {"apikey": product.stack.publishable_key}
        url = f"{product.stack.supabase_url}/auth/v1/signup"
        (await http.post(url, json=user, headers=headers)).raise_for_status()
    return {name.upper(): value for name, value in user.items()}


@pytest.mark.parametrize("example", ["python", "node"])
async def test_an_example_clones_a_voice_and_speaks(
    product: Product, sample: Path, tmp_path: Path, example: str
) -> None:
    await product.start("service")
    await product.start("consumers")
    folder = tmp_path / example
    shutil.copytree(ROOT / "examples" / example, folder)
    (folder / "node_modules").symlink_to(ROOT / "node_modules")
    speech, output = tmp_path / "speech.wav", ""
    env = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        **await sign_up(product),
        "LIKENESS_URL": product.stack.api_url,
        "SUPABASE_URL": product.stack.supabase_url,
        "SUPABASE_PUBLISHABLE_KEY": product.stack.publishable_key,
    }
    values = {"service": product.stack.api_url, "sample": str(sample), "speech": str(speech)}
    for command in COMMANDS[example]:
        output = await run([part.format(**values) for part in command], folder, env)
    assert "preview: " in output
    with wave.open(str(speech)) as file:
        assert file.getnframes() > file.getframerate(), "longer than a second"
