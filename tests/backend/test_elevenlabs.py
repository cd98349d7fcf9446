"""The ElevenLabs adapter against the real simulator process: from create to delete."""

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from backend.providers.base import (
    Enrolled,
    EnrollRequest,
    ErrorKind,
    ProviderError,
    Slots,
    SpeechRequest,
    new_label,
)
from backend.providers.elevenlabs.adapter import ElevenLabs, ElevenLabsConfig
from backend.web.http_client import HttpClient
from tests.simulators import BytesSample, Simulator, assert_is_speech, spoken_sample


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as opened:
        yield opened


@pytest.fixture
def elevenlabs(providers: Simulator, client: HttpClient) -> ElevenLabs:
    providers.reset()
    return ElevenLabs(providers.elevenlabs(), client)


def request(label: str, sample: BytesSample | None = None, name: str = "Ada") -> EnrollRequest:
    given = sample or BytesSample(spoken_sample())
    return EnrollRequest(label=label, name=name, language="en", transcript=None, sample=given)


def speech(enrolled: Enrolled, text: str = "Good morning, this is my own voice speaking.") -> SpeechRequest:
    return SpeechRequest(
        provider_voice_id=enrolled.provider_voice_id,
        target_model=enrolled.target_model,
        text=text,
        language="en",
    )


async def test_a_voice_is_enrolled_found_described_listed_spoken_and_deleted(elevenlabs: ElevenLabs) -> None:
    label, before = new_label(), datetime.now(UTC).replace(microsecond=0)
    enrolled = await elevenlabs.enroll(request(label))
    assert enrolled.request_id
    assert not enrolled.requires_verification
    found = await elevenlabs.find(label)
    assert found
    assert (found.provider_voice_id, found.label) == (enrolled.provider_voice_id, label)
    assert found.created_at
    assert found.created_at >= before
    assert found == await elevenlabs.describe(enrolled.provider_voice_id)
    assert [voice async for voice in elevenlabs.list()] == [found]
    assert_is_speech(await elevenlabs.synthesize(speech(enrolled)))
    for _ in range(2):
        await elevenlabs.delete(enrolled.provider_voice_id)
    assert await elevenlabs.find(label) is None
    assert await elevenlabs.describe(enrolled.provider_voice_id) is None
    with pytest.raises(ProviderError, match="voice_not_found"):
        await elevenlabs.synthesize(speech(enrolled))


async def test_the_name_that_the_user_typed_is_the_description(
    providers: Simulator, elevenlabs: ElevenLabs
) -> None:
    label, name = new_label(), 'Ada "the first" Lovelace\r\n--not-a-boundary; naïve 声'
    await elevenlabs.enroll(request(label, name=name))
    [voice] = providers.voices("elevenlabs", label)
    assert (voice["description"], voice["labels"]) == (name, {"likeness": label})


@pytest.mark.parametrize(
    ("model", "output_format"),
    [("eleven_flash_v2_5", "pcm_24000"), ("eleven_v3", "wav_24000"), ("eleven_multilingual_v2", "pcm_16000")],
)
async def test_every_model_and_format_gives_a_wav(
    providers: Simulator, client: HttpClient, model: str, output_format: str
) -> None:
    adapter = ElevenLabs(providers.elevenlabs(model_id=model, output_format=output_format), client)
    assert_is_speech(await adapter.synthesize(speech(await adapter.enroll(request(new_label())))))


async def test_a_label_is_matched_exactly_and_on_every_page(providers: Simulator, client: HttpClient) -> None:
    adapter = ElevenLabs(providers.elevenlabs(page_size=2), client)
    voices = {}
    for label in ("abc", "abcd", "xabc", "abc_", "ab"):
        voices[label] = (await adapter.enroll(request(label, name="abc"))).provider_voice_id
    for label, voice_id in voices.items():
        found = await adapter.find(label)
        assert found
        assert found.provider_voice_id == voice_id
    assert await adapter.find("a") is None


async def test_a_lagging_list_shows_the_voice_later(providers: Simulator, elevenlabs: ElevenLabs) -> None:
    label = new_label()
    providers.fault("elevenlabs", "create", "list_lag", lists=2)
    enrolled = await elevenlabs.enroll(request(label))
    assert await elevenlabs.describe(enrolled.provider_voice_id)
    assert [await elevenlabs.find(label) is not None for _ in range(3)] == [False, False, True]


async def test_a_voice_that_requires_verification_speaks_only_once_verified(
    providers: Simulator, elevenlabs: ElevenLabs
) -> None:
    providers.fault("elevenlabs", "create", "verification_required")
    enrolled = await elevenlabs.enroll(request(new_label()))
    assert enrolled.requires_verification
    for outcome, verified in (("failed", False), ("verified", True)):
        with pytest.raises(ProviderError, match="voice_access_denied"):
            await elevenlabs.synthesize(speech(enrolled))
        providers.verify(enrolled.provider_voice_id, outcome)
        described = await elevenlabs.describe(enrolled.provider_voice_id)
        assert described
        assert (described.requires_verification, described.is_verified) == (True, verified)
    assert_is_speech(await elevenlabs.synthesize(speech(enrolled)))


async def test_slots_are_what_the_subscription_tells(providers: Simulator, elevenlabs: ElevenLabs) -> None:
    await elevenlabs.enroll(request(new_label()))
    assert await elevenlabs.slots() == Slots(used=1, allowed=660)


async def test_a_sample_that_storage_does_not_give_whole_makes_no_voice(
    providers: Simulator, elevenlabs: ElevenLabs
) -> None:
    for difference in (1, -1):
        sample = BytesSample(spoken_sample())
        sample.size += difference
        with pytest.raises(ProviderError) as raised:
            await elevenlabs.enroll(request(new_label(), sample))
        assert (raised.value.kind, raised.value.code) == (ErrorKind.UNAVAILABLE, "sample_unavailable")
    assert providers.voices("elevenlabs") == []


@pytest.mark.parametrize("voice_id", ["..", "../voices", "a/b", "", "a?b=c", "x" * 65])
async def test_a_voice_id_cannot_leave_its_path(
    providers: Simulator, elevenlabs: ElevenLabs, voice_id: str
) -> None:
    assert await elevenlabs.describe(voice_id) is None
    await elevenlabs.delete(voice_id)
    with pytest.raises(ProviderError, match="voice_not_found"):
        await elevenlabs.synthesize(speech(Enrolled(provider_voice_id=voice_id, target_model="eleven_v3")))
    assert providers.state()["calls"] == []


@pytest.mark.parametrize(("text", "code"), [("x" * 10_001, "text_too_long"), (" \n", "text_empty")])
async def test_text_is_measured_before_it_is_sent(
    providers: Simulator, elevenlabs: ElevenLabs, text: str, code: str
) -> None:
    enrolled = Enrolled(provider_voice_id="abc", target_model="eleven_multilingual_v2")
    with pytest.raises(ProviderError, match=code):
        await elevenlabs.synthesize(speech(enrolled, text))
    assert providers.state()["calls"] == []


async def test_the_key_is_never_told(
    providers: Simulator, client: HttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config = providers.elevenlabs(create_seconds=0.3)
    adapter, texts = ElevenLabs(config, client), [repr(config)]
    words = f"Authorization failed for {config.api_key}"
    for fault, how in (
        ("error", {"status": 401, "code": words, "message": words}),
        ("error", {"status": 400, "code": "invalid_audio", "message": words}),
        ("hang", {}),
        ("reset", {}),
        ("garbled", {}),
    ):
        providers.fault("elevenlabs", "create", fault, **how)
        with pytest.raises(ProviderError) as raised:
            await adapter.enroll(request(new_label()))
        error = raised.value
        assert (error.__cause__, error.__context__) == (None, None)
        texts += [str(error), repr(error), error.message, repr(vars(error))]
    for said in [*texts, caplog.text]:
        assert config.api_key not in said


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"base_url": "https://api.eu.residency.elevenlabs.io"}, ""),
        ({"base_url": "http://127.0.0.1:9/elevenlabs"}, ""),
        ({"api_key": ""}, "ELEVENLABS_API_KEY is missing"),
        ({"api_key": " x"}, "spaces"),
        ({"base_url": "api.elevenlabs.io"}, "not a plain http(s) URL"),
        ({"base_url": "https://[oops"}, "not a plain http(s) URL"),
        ({"base_url": "http://api.elevenlabs.io"}, "must be https"),
        ({"base_url": "https://api.mars.elevenlabs.io"}, "is unknown"),
        ({"model_id": ""}, "ELEVENLABS_MODEL_ID is missing"),
    ],
)
def test_a_configuration_that_cannot_work_is_named(changes: dict[str, str], problem: str) -> None:
    given = {"api_key": "xi-1", "base_url": "https://api.elevenlabs.io", "model_id": "eleven_v3"}
    problems = ElevenLabsConfig(**{**given, **changes}).problems()  # pyright: ignore[reportArgumentType]
    assert bool(problems) == bool(problem)
    assert problem in " ".join(problems)
