"""The page: who may load what, how it is cached and compressed, and when it does not exist."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.page.files import FOLDER
from backend.page.routes import accepts_gzip
from backend.settings.supabase import SupabaseSettings, is_public_key
from tests.backend.conftest import NOBODY, Served, served
from tests.project.test_docs import documented_codes

KEY = "sb_publishable_of_this_test"
BUDGET = 150_000  # bytes before sign-in
ANON = "e30.eyJyb2xlIjoiYW5vbiJ9.x"
SERVICE_ROLE = "e30.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.x"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, "postgresql://127.0.0.1:1/x", SUPABASE_PUBLISHABLE_KEY=KEY) as running:
        yield running


async def test_every_file_has_a_policy_a_tag_and_a_small_size(service: Served) -> None:
    transferred = 0
    names = ["/", "/verify", *(f"/page/{each.name}" for each in FOLDER.iterdir())]
    for name in names:
        plain = await service.http.get(name, headers={"accept-encoding": "identity"})
        small = await service.http.get(name, headers={"accept-encoding": "br, gzip"})
        assert (plain.status_code, small.status_code) == (200, 200)
        assert small.headers["content-encoding"] == "gzip"
        assert small.content == plain.content
        assert small.headers["etag"] != plain.headers["etag"]
        policy = small.headers["content-security-policy"]
        assert f"connect-src 'self' {NOBODY};" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert small.headers["x-content-type-options"] == "nosniff"
        assert small.headers["content-type"].count("charset") == small.headers["content-type"].count("text/")
        assert small.headers["referrer-policy"] == "no-referrer"
        again = await service.http.get(name, headers={"if-none-match": f'"x", W/{small.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        transferred += len(gzip.compress(plain.content))
    assert transferred < BUDGET


async def test_the_document_has_the_project_and_no_secret_and_no_inline_script(service: Served) -> None:
    document = (await service.http.get("/")).text
    assert f'data-supabase-url="{NOBODY}"' in document
    assert f'data-publishable-key="{KEY}"' in document
    assert "sb_secret" not in document
    assert "<script>" not in document


@pytest.mark.parametrize("name", ["absent.js", "..%2Froutes.py", "%2e%2e%2froutes.py"])
async def test_a_name_that_is_no_file_of_the_page_is_404(service: Served, name: str) -> None:
    assert (await service.http.get(f"/page/{name}")).status_code == 404


@pytest.mark.parametrize("settings", [{}, {"SUPABASE_PUBLISHABLE_KEY": KEY, "PAGE": "false"}])
async def test_without_a_key_or_switched_off_there_is_no_page(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    async with served(tmp_path, "postgresql://127.0.0.1:1/x", **settings) as service:
        for path in ("/", "/verify", "/page/verify.js"):
            assert (await service.http.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (KEY, True),
        (ANON, True),
        (SERVICE_ROLE, False),
        ("sb_secret_x", False),
        ("x", False),
        ("a.b.c", False),
    ],
)
def test_only_a_publishable_key_may_be_in_the_page(key: str, expected: bool) -> None:
    assert is_public_key(key) is expected
    settings = SupabaseSettings(url=NOBODY, secret_key="s", jwks_url=NOBODY, publishable_key=key)
    assert any("SUPABASE_PUBLISHABLE_KEY" in each for each in settings.problems()) is not expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("br", False),
        ("", False),
    ],
)
def test_gzip_is_sent_only_where_it_is_accepted(header: str, expected: bool) -> None:
    assert accepts_gzip(header) is expected


def entries(name: str) -> dict[str, str]:
    """The lines of an object of the page's texts, by key."""
    text = (FOLDER / "texts.en.js").read_text()
    body = re.search(rf"^export const {name} = \{{$(.+?)^\}};$", text, re.MULTILINE | re.DOTALL)
    assert body, name
    return dict(re.findall(r"^  (\w+): (.+),$", body[1], re.MULTILINE))


def test_every_documented_error_code_has_a_sentence_and_an_action_on_the_page() -> None:
    problems, actions = entries("problems"), entries("actions")
    written = {code: json.loads(line) for code, line in problems.items()}
    assert [code for code in documented_codes() if code not in written] == []
    own = ["unknown", "session_ended", "upload_refused", "network"]
    browsers = [code for code in written if code.endswith("Error")]
    assert [code for code in written if code not in {*documented_codes(), *own, *browsers}] == []
    for code, (sentence, action) in written.items():
        assert sentence.endswith("."), code
        assert action in actions, code


def test_every_blocker_of_the_gate_has_a_sentence_on_the_page() -> None:
    states = {
        "clone": "awaiting_upload queued processing verifying failed expired cancelled",
        "runtime": "pending syncing failed",
        "preview": "required rendering rendered failed",
    }
    text = (FOLDER / "texts.en.js").read_text()
    blockers = [f"{part}_{state}" for part, each in states.items() for state in each.split()]
    for blocker in [*blockers, "no_voice", "original_removed", "voice_lost", "voice_taken_down"]:
        assert f"{blocker}: " in text, blocker


async def test_the_reference_page_and_its_scripts_come_from_here(service: Served) -> None:
    page = await service.http.get("/schema")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    scripts = [source for source in sources if source.endswith(".js")]
    assert set(sources) - set(scripts) == {"data:,"}
    for path in ("/schema", *scripts, "/schema/openapi.json"):
        answer = await service.http.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert "http" not in policy
    weight = len(gzip.compress("".join([(await service.http.get(each)).text for each in scripts]).encode()))
    assert weight < 350_000


async def test_where_the_page_is_switched_off_only_the_document_is_left(tmp_path: Path) -> None:
    async with served(tmp_path, "postgresql://127.0.0.1:1/x", PAGE="false") as service:
        assert (await service.http.get("/schema")).json()["openapi"].startswith("3.")
        assert (await service.http.get("/schema/redoc.standalone.js")).status_code == 404
