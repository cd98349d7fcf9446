"""The Cartesia adapter against the real simulator process: what is its own beside the contract of all."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
import pytest_asyncio

from backend.providers.base import ProviderError, new_label
from backend.providers.cartesia.adapter import Cartesia, CartesiaConfig
from backend.web.http_client import HttpClient
from scripts.local.simulator.audio import analyze
from tests.backend.adapters import enrolling, speaking
from tests.simulators import CARTESIA_KEY, BytesSample, Simulator, assert_is_speech, spoken_sample


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as opened:
        yield opened


@pytest.fixture
def cartesia(providers: Simulator, client: HttpClient) -> Cartesia:
    providers.reset()
    return Cartesia(providers.cartesia(), client)


async def test_the_name_that_the_user_typed_is_the_description(
    providers: Simulator, cartesia: Cartesia
) -> None:
    label, name = new_label(), 'Ada "the first" Lovelace\r\n--not-a-boundary; naïve 声'
    before = datetime.now(UTC)
    enrolled = await cartesia.enroll(enrolling(label, name=name, language="de-AT"))
    [voice] = providers.voices("cartesia", label)
    assert (voice["description"], voice["language"]) == (name, "de")
    assert enrolled.metadata == {"access": "private"}
    found = await cartesia.describe(enrolled.provider_voice_id)
    assert found
    assert found.created_at
    assert (found.language, found.created_at >= before) == ("de", True)


async def test_a_voice_is_found_on_every_page(providers: Simulator, client: HttpClient) -> None:
    providers.reset()
    adapter = Cartesia(providers.cartesia(page_size=2), client)
    labels = [new_label() for _ in range(5)]
    voices = [(await adapter.enroll(enrolling(label, name="same"))).provider_voice_id for label in labels]
    assert {voice.provider_voice_id async for voice in adapter.list()} == set(voices)
    first = await adapter.find(labels[0])
    assert first
    assert first.provider_voice_id == voices[0]


async def test_a_lagging_list_shows_the_voice_later(providers: Simulator, cartesia: Cartesia) -> None:
    label = new_label()
    providers.fault("cartesia", "create", "list_lag", lists=3)
    enrolled = await cartesia.enroll(enrolling(label))
    assert await cartesia.describe(enrolled.provider_voice_id)
    assert [await cartesia.find(label) is not None for _ in range(4)] == [False, False, False, True]


async def test_a_stock_voice_of_the_account_has_no_label(cartesia: Cartesia, providers: Simulator) -> None:
    """Its name is not one of ours."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(
            f"{providers.url}/cartesia/voices/clone",
            headers={"authorization": f"Bearer {CARTESIA_KEY}", "cartesia-version": "2026-08-14"},
            data={"name": "Katie - Friendly Fixer", "language": "en"},
            files={"clip": ("clip.wav", spoken_sample(), "audio/wav")},
        )
    found = await cartesia.describe(answer.json()["id"])
    assert found
    assert found.label is None


async def test_a_language_that_is_not_cloned_is_refused_before_a_call(
    providers: Simulator, cartesia: Cartesia
) -> None:
    with pytest.raises(ProviderError, match="language_unsupported"):
        await cartesia.enroll(enrolling(new_label(), language="eo"))
    assert providers.state()["calls"] == []


async def test_a_voice_speaks_another_language_than_its_own_at_the_pitch_of_its_sample(
    cartesia: Cartesia,
) -> None:
    pitches = []
    for pitch in (100.0, 200.0):
        sample = BytesSample(spoken_sample(pitch=pitch))
        enrolled = await cartesia.enroll(enrolling(new_label(), sample))
        text = "Ich spreche so hoch oder so tief wie zuvor."
        said = speaking(enrolled.provider_voice_id, enrolled.target_model, text, "de")
        audio = await cartesia.synthesize(said)
        assert_is_speech(audio)
        pitches.append(analyze(audio).pitch)
    assert pitches[1] > 1.3 * pitches[0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"base_url": "http://127.0.0.1:9/cartesia"}, ""),
        ({"api_key": ""}, "CARTESIA_API_KEY is missing"),
        ({"api_key": " x"}, "spaces"),
        ({"base_url": "api.cartesia.ai"}, "not a plain http(s) URL"),
        ({"base_url": "https://[oops"}, "not a plain http(s) URL"),
        ({"base_url": "http://api.cartesia.ai"}, "must be https"),
        ({"base_url": "https://play.cartesia.ai"}, "is unknown"),
        ({"model_id": ""}, "CARTESIA_MODEL_ID is missing"),
    ],
)
def test_a_configuration_that_cannot_work_is_named(changes: dict[str, str], problem: str) -> None:
    given = {"api_key": "sk_car_1", "base_url": "https://api.cartesia.ai", "model_id": "sonic-3.5"}
    problems = CartesiaConfig(**{**given, **changes}).problems()  # pyright: ignore[reportArgumentType]
    assert bool(problems) == bool(problem)
    assert problem in " ".join(problems)
