"""README's walkthrough and its application code, pasted as they stand."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from scripts.local.supabase.auth_and_data import node
from scripts.migrations import ROOT
from tests.end_to_end.conftest import Product
from tests.scripts.guide import Shell

README = (ROOT / "README.md").read_text()
SECONDS = 3  # of a stream that stays open
# What the code takes as given: the project's addresses, who signs in, and a file that the user chose.
GIVEN = """
import {{ readFileSync }} from "node:fs";
const {{ api_url: API_URL, supabase_url: SUPABASE_URL, publishable_key: PUBLISHABLE_KEY }} =
  JSON.parse(readFileSync(".local/stack.json"));
const [email, password] = [`ada-${{crypto.randomUUID()}}@example.org`, "a long password"];
await createClient(SUPABASE_URL, PUBLISHABLE_KEY).auth.signUp({{ email, password }});
const file = new Blob([readFileSync("sample.wav")], {{ type: "audio/wav" }});
{code}
console.log(JSON.stringify({{ attempt, voice: data.voice, attempts }}));
"""


def blocks(heading: str, language: str) -> list[str]:
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
async def folder(product: Product, sample: Path, tmp_path: Path) -> Path:
    """A checkout in which `make dev` runs, as far as the commands look at it."""
    await product.start("service")
    await product.start("consumers")
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "stack.json").write_text(json.dumps(product.stack.describe()))
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    shutil.copy(sample, tmp_path / "sample.wav")
    return tmp_path


async def test_the_walkthrough_ends_with_a_voice_that_speaks(folder: Path, product: Product) -> None:
    for tool in ("curl", "jq"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    main_job, events, stock_voice = blocks("Walkthrough with curl", "sh")
    address, *streams = events.strip().splitlines()
    ended = [f"{each.partition('#')[0]} --max-time {SECONDS} || [ $? = 28 ]" for each in streams]
    shell = Shell(folder, {"PATH": os.environ["PATH"]})
    pasted = "\n".join([main_job, address, *ended, stock_voice])
    printed = await asyncio.to_thread(shell.run, pasted)
    assert '"launchable":true' in printed
    assert '"preview_completed"' in printed
    assert re.search(r"^id: \d+$", printed, re.MULTILINE)
    assert (folder / "speech.wav").read_bytes()[:4] == b"RIFF"
    stock = "select id from public.reflections where name = 'Bea' order by created_at desc limit 1"
    bea = product.row(stock)["id"]
    mirrored = "select from public.reflections where id = %s and voice ->> 'previewStatus' = 'completed'"
    await product.until(mirrored, bea)  # the consumers write it a little later


async def test_the_code_of_an_application_runs(folder: Path) -> None:
    (code,) = blocks("From an application, with supabase-js", "js")
    script = folder / "application.mjs"
    script.write_text(GIVEN.format(code=code))
    process = await asyncio.create_subprocess_exec(
        *(str(node()), script.name),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    seen = json.loads(output)
    assert seen["attempts"][0]["id"] == seen["attempt"]["attempt_id"]
    assert seen["voice"]["cloneStatus"] in {"none", "processing", "ready"}, (
        "the consumers write it a little later"
    )
