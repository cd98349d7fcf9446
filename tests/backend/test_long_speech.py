"""A text longer than its provider takes: spoken in parts, all of it, by this voice alone."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from backend.lifecycle.synthesis.speaking import MOST_PARTS, speak
from backend.providers.base import ErrorKind, ProviderError, SpeechRequest, VoiceProvider, new_label
from backend.web.http_client import HttpClient
from tests.backend.adapters import ADAPTERS, enrolling, speaking
from tests.simulators import Simulator, assert_is_speech, simulator

SENTENCE = "The quick brown fox jumps over the lazy dog, and then it rests for a while. "


@pytest.fixture(scope="module")
def instant() -> Iterator[Simulator]:
    with simulator("--instant") as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as opened:
        yield opened


@pytest.fixture(params=ADAPTERS)
def name(request: pytest.FixtureRequest, instant: Simulator) -> str:
    instant.reset()
    return request.param


@pytest.fixture
def provider(name: str, instant: Simulator, client: HttpClient) -> VoiceProvider:
    return ADAPTERS[name](instant, client)


async def long_request(provider: VoiceProvider, parts: float) -> SpeechRequest:
    """With a voice of its own; the text is so many times the limit."""
    voice = await provider.enroll(enrolling(new_label()))
    most = provider.limits.characters_of(voice.target_model)
    text = (SENTENCE * (int(most * parts) // len(SENTENCE) + 1)).strip()
    return speaking(voice.provider_voice_id, voice.target_model, text)


def spoken(instant: Simulator, name: str) -> list[str]:
    """The texts of all calls, without the id of the voice."""
    return [call["label"][call["label"].index("The quick") :] for call in instant.calls(name, "speech")]


async def test_a_long_text_is_spoken_whole_and_once(
    name: str, provider: VoiceProvider, instant: Simulator
) -> None:
    request = await long_request(provider, 2.5)
    speech = await speak(provider, request)
    assert_is_speech(speech)
    texts = spoken(instant, name)
    assert len(texts) == 3
    assert sum(text.count("fox") for text in texts) == request.text.count("fox")
    assert all(text.endswith(".") for text in texts), "split at sentences"
    one = await provider.synthesize(speaking(request.provider_voice_id, request.target_model))
    assert len(speech) > 3 * len(one), "as long as its parts"


async def test_a_text_that_fits_is_one_call(name: str, provider: VoiceProvider, instant: Simulator) -> None:
    request = await long_request(provider, 0)
    await speak(provider, request)
    assert spoken(instant, name) == [request.text]


async def test_a_part_that_fails_fails_the_whole_and_no_other_voice_answers(
    name: str, provider: VoiceProvider, instant: Simulator
) -> None:
    request = await long_request(provider, 2.5)
    instant.fault(name, "speech", "error", status=400, code="odd", times=1)
    with pytest.raises(ProviderError) as failed:
        await speak(provider, request)
    assert failed.value.provider == name
    assert {call["provider"] for call in instant.state()["calls"] if call["operation"] == "speech"} == {name}


async def test_a_text_of_too_many_parts_is_refused_before_any_call(
    name: str, provider: VoiceProvider, instant: Simulator
) -> None:
    request = await long_request(provider, MOST_PARTS + 1)
    with pytest.raises(ProviderError) as refused:
        await speak(provider, request)
    assert (refused.value.kind, refused.value.code) == (ErrorKind.REJECTED, "text_too_long")
    assert spoken(instant, name) == []
