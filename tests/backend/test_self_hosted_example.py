"""The server in docs/self-hosted-model.md, run as it is printed there."""

import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from backend.providers.base import ErrorKind, ProviderError, new_label
from backend.providers.reference.adapter import MAX_CHARACTERS, Reference, ReferenceConfig
from backend.providers.reference.errors import ERRORS
from backend.web.http_client import HttpClient
from scripts.local.supabase.ports import free_port
from scripts.local.supabase.processes import Processes
from scripts.migrations import ROOT
from tests.backend.adapters import MemorySamples, enrolling, speaking
from tests.backend.profiles import DirectoryProfiles
from tests.project.documents import inline_code, section, table_rows

PAGE = ROOT / "docs" / "self-hosted-model.md"
KEY = "a-key-of-the-model"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def model(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Its address."""
    directory = tmp_path_factory.mktemp("model")
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(program.splitlines()) <= 50
    (directory / "server.py").write_text(program)
    port, processes = free_port(), Processes(directory)
    env = {"MODEL_KEY": KEY, "PORT": str(port), "PYTHONUNBUFFERED": "1"}
    child = await processes.start("model", [sys.executable, directory / "server.py"], env, cwd=directory)
    try:
        await child.await_output("Running on")
        yield f"http://127.0.0.1:{port}"
    finally:
        await processes.stop_all()


async def test_the_example_speaks_and_checks_its_key(model: str, tmp_path: Path) -> None:
    samples, profiles = MemorySamples(), DirectoryProfiles(tmp_path)
    sample = samples.keep("a/prepared.wav")
    async with HttpClient() as http:
        right = ReferenceConfig(name="modal", url=model, api_key=KEY)
        provider = Reference(right, http, samples, profiles)
        enrolled = await provider.enroll(enrolling(new_label(), sample, transcript="What is\nsaid."))
        spoken = await provider.synthesize(speaking(enrolled.provider_voice_id, enrolled.target_model))
        assert spoken == sample.data
        wrong = Reference(
            ReferenceConfig(name="modal", url=model, api_key="another"), http, samples, profiles
        )
        with pytest.raises(ProviderError) as raised:
            await wrong.enroll(enrolling(new_label(), sample))
        assert raised.value.kind is ErrorKind.MISCONFIGURED


async def test_the_example_refuses_with_codes_of_the_contract(model: str) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    audio = {"audio": ("sample.wav", b"RIFF", "audio/wav")}
    async with httpx.AsyncClient(base_url=model, headers=headers, trust_env=False) as http:
        for text, code in ((" ", "text_empty"), ("x" * (MAX_CHARACTERS + 1), "text_too_long")):
            answer = await http.post("/synthesize", data={"text": text}, files=audio)
            assert (answer.status_code, answer.json()["code"]) == (422, code)
            assert answer.headers["content-type"].startswith("application/problem+json")


def test_the_page_lists_the_codes_that_the_adapter_reads() -> None:
    rows = table_rows(section(PAGE, "The call"))
    listed = [code for row in rows if len(row) == 3 for code in inline_code(row[0])]
    assert sorted(listed) == sorted(ERRORS)
