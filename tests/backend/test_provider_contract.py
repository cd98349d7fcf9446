"""What holds for every provider: labels, limits, the life of a voice, and what becomes of bad answers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import get_args

import pytest
import pytest_asyncio

from backend.domains.samples.findings import MIN_SAMPLE_RATE
from backend.providers.base import (
    ErrorKind,
    ProviderError,
    VoiceProvider,
    new_label,
)
from backend.providers.local.adapter import LocalProvider
from backend.providers.wav import pcm_wav
from backend.settings.providers import ProviderName
from backend.web.http_client import HttpClient
from scripts.local.simulator.http import Request, Response, Server
from tests.backend.adapters import ADAPTERS, SELF_HOSTED, VENDORS, enrolling, speaking
from tests.simulators import BytesSample, Simulator, assert_is_speech, spoken_sample

LABELS = ("Upper", "with-hyphen", "", "x" * 17, "naïve", "a b")
PREPARED_RATE = 24_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as opened:
        yield opened


@pytest.fixture(params=ADAPTERS)
def name(request: pytest.FixtureRequest, providers: Simulator) -> str:
    providers.reset()
    return request.param


@pytest.fixture
def provider(name: str, providers: Simulator, client: HttpClient) -> VoiceProvider:
    return ADAPTERS[name](providers, client)


@asynccontextmanager
async def answering(handler: Callable[[Request], Awaitable[Response]]) -> AsyncIterator[str]:
    """The address of a server that gives this answer to every call."""
    server = Server(handler)
    port = await server.start("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.close()


async def failure(call: Awaitable[object]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        await call
    return raised.value


def test_each_configurable_provider_is_tested_here() -> None:
    assert {"local", *ADAPTERS} == set(get_args(ProviderName))
    assert set(ADAPTERS) == {*VENDORS, *SELF_HOSTED}


def test_each_provider_states_limits_that_a_sample_can_meet(provider: VoiceProvider, name: str) -> None:
    for limits in (provider.limits, LocalProvider.limits):
        assert 0 < limits.min_seconds <= 10 < limits.max_seconds <= 600
        assert limits.max_bytes >= limits.min_seconds * PREPARED_RATE * 2
        assert MIN_SAMPLE_RATE <= limits.min_sample_rate <= PREPARED_RATE
        assert limits.max_characters >= 300
        assert limits.languages is None or "en" in limits.languages
    assert provider.name == name
    assert provider.voice_kind
    assert provider.target_model


async def test_a_voice_lives_from_its_enrollment_to_its_deletion(provider: VoiceProvider) -> None:
    label = new_label()
    assert await provider.find(label) is None
    enrolled = await provider.enroll(enrolling(label))
    assert (enrolled.target_model, enrolled.requires_verification) == (provider.target_model, False)
    found = await provider.find(label)
    assert found
    assert (found.provider_voice_id, found.label) == (enrolled.provider_voice_id, label)
    assert found.target_model in (None, provider.target_model)
    assert found == await provider.describe(enrolled.provider_voice_id)
    assert [voice async for voice in provider.list()] == [found]
    said = speaking(enrolled.provider_voice_id, enrolled.target_model)
    assert_is_speech(await provider.synthesize(said))
    for _ in range(2):
        await provider.delete(enrolled.provider_voice_id)
    assert await provider.find(label) is None
    assert await provider.describe(enrolled.provider_voice_id) is None
    assert [voice async for voice in provider.list()] == []
    error = await failure(provider.synthesize(said))
    assert (error.kind, error.code) == (ErrorKind.REJECTED, "voice_not_found")


async def test_pages_have_each_voice_once_wherever_the_reading_goes_on(
    name: str, providers: Simulator, client: HttpClient
) -> None:
    """The cursor is all that a process needs that goes on after another was killed."""
    make = ADAPTERS[name] if name in SELF_HOSTED else partial(ADAPTERS[name], page_size=2)
    first = make(providers, client)
    made = [await first.enroll(enrolling(new_label())) for _ in range(5)]
    read: list[str] = []
    cursor, pages = None, 0
    while True:
        other = first if name in SELF_HOSTED else make(providers, client)  # their voices are in its folder
        page = await other.list_page(cursor)
        read += [voice.provider_voice_id for voice in page.voices]
        pages, cursor = pages + 1, page.next
        if cursor is None:
            break
    assert sorted(read) == sorted(voice.provider_voice_id for voice in made)
    assert pages == 1 if name in SELF_HOSTED else pages >= 3


async def test_no_voice_is_found_under_a_part_of_its_label(provider: VoiceProvider) -> None:
    voices = {}
    for label in ("abc", "abcd", "xabc", "abc_", "ab"):
        voices[label] = (await provider.enroll(enrolling(label, name="abc"))).provider_voice_id
    assert len(set(voices.values())) == len(voices)
    for label, voice_id in voices.items():
        found = await provider.find(label)
        assert found
        assert found.provider_voice_id == voice_id
    assert await provider.find("a") is None


async def test_what_cannot_be_enrolled_is_refused_before_a_call(
    providers: Simulator, provider: VoiceProvider
) -> None:
    for label in LABELS:
        assert (await failure(provider.enroll(enrolling(label)))).code == "label_invalid"
    large = BytesSample(bytes(provider.limits.max_bytes + 1))
    error = await failure(provider.enroll(enrolling(new_label(), large)))
    assert (error.kind, error.code) == (ErrorKind.REJECTED, "sample_too_large")
    assert providers.state()["calls"] == []


@pytest.mark.parametrize("voice_id", ["..", "../voices", "a/b", "", "a?b=c", "x" * 65, "\0"])
async def test_an_id_that_is_none_speaks_with_no_voice(provider: VoiceProvider, voice_id: str) -> None:
    assert await provider.describe(voice_id) is None
    await provider.delete(voice_id)
    error = await failure(provider.synthesize(speaking(voice_id, provider.target_model)))
    assert (error.kind, error.code) == (ErrorKind.REJECTED, "voice_not_found")


async def test_text_is_measured_before_it_is_sent(providers: Simulator, provider: VoiceProvider) -> None:
    for text, code in (("x" * (provider.limits.max_characters + 1), "text_too_long"), (" \n", "text_empty")):
        error = await failure(provider.synthesize(speaking("abc", provider.target_model, text)))
        assert (error.kind, error.code) == (ErrorKind.REJECTED, code)
        assert error.limit == (provider.limits.max_characters if code == "text_too_long" else None)
    assert providers.state()["calls"] == []


async def test_a_sample_that_storage_does_not_give_whole_makes_no_voice(provider: VoiceProvider) -> None:
    for difference in (1, -1):
        label, sample = new_label(), BytesSample(spoken_sample())
        sample.size += difference
        error = await failure(provider.enroll(enrolling(label, sample)))
        assert (error.kind, error.code) == (ErrorKind.UNAVAILABLE, "sample_unavailable")
        assert await provider.find(label) is None


FAILED_SPEECHES = [  # fault, how, kind, the code of the error
    ("throttled", {"retry_after": 7}, ErrorKind.THROTTLED, "provider_throttled"),
    ("internal_error", {}, ErrorKind.UNAVAILABLE, None),
    ("unavailable", {}, ErrorKind.UNAVAILABLE, "provider_unavailable"),
    ("bad_gateway", {}, ErrorKind.UNAVAILABLE, "provider_unavailable"),
    ("bad_gateway", {"after_commit": True}, ErrorKind.UNAVAILABLE, "provider_unavailable"),
    ("reset", {}, ErrorKind.UNAVAILABLE, "provider_unavailable"),
    ("hang", {}, ErrorKind.UNAVAILABLE, "provider_unavailable"),
    ("garbled", {}, ErrorKind.UNAVAILABLE, None),
    ("wrong_key", {}, ErrorKind.MISCONFIGURED, "provider_misconfigured"),
]


@pytest.mark.parametrize(("fault", "how", "kind", "code"), FAILED_SPEECHES)
async def test_a_speech_that_fails_is_an_error_and_no_audio(
    providers: Simulator,
    client: HttpClient,
    name: str,
    fault: str,
    how: dict[str, object],
    kind: ErrorKind,
    code: str | None,
) -> None:
    if name == "elevenlabs" and fault == "garbled":
        pytest.skip("ElevenLabs is asked for plain PCM, which any bytes are")
    provider = ADAPTERS[name](providers, client, **({"speech_seconds": 0.5} if fault == "hang" else {}))
    enrolled = await provider.enroll(enrolling(new_label()))
    providers.fault(name, "speech", fault, **how)
    error = await failure(provider.synthesize(speaking(enrolled.provider_voice_id, enrolled.target_model)))
    assert error.kind is kind
    assert code in (None, error.code)
    assert error.retry_after == how.get("retry_after")
    assert len(providers.calls(name, "speech")) == 1


async def test_another_voice_never_speaks_in_place_of_one_that_cannot(
    providers: Simulator, provider: VoiceProvider, name: str
) -> None:
    voices = [await provider.enroll(enrolling(new_label())) for _ in range(2)]
    await provider.delete(voices[0].provider_voice_id)
    error = await failure(provider.synthesize(speaking(voices[0].provider_voice_id, voices[0].target_model)))
    assert error.code == "voice_not_found"
    assert all(voices[1].provider_voice_id not in call["label"] for call in providers.calls(name, "speech"))


async def test_a_connection_that_never_stood_had_no_effect(
    providers: Simulator, client: HttpClient, name: str
) -> None:
    provider = ADAPTERS[name](providers, client, url="http://127.0.0.1:1")
    error = await failure(provider.enroll(enrolling(new_label())))
    assert (error.kind, error.code) == (ErrorKind.UNAVAILABLE, "provider_unavailable")


async def test_a_redirect_is_not_followed(providers: Simulator, client: HttpClient, name: str) -> None:
    asked: list[Request] = []

    async def elsewhere(request: Request) -> Response:
        asked.append(request)
        return Response(body=pcm_wav(bytes(48_000), 24_000), headers={"content-type": "audio/wav"})

    async with answering(elsewhere) as target:

        async def redirect(_: Request) -> Response:
            return Response(status=307, headers={"location": f"{target}/synthesize"})

        async with answering(redirect) as url:
            provider = ADAPTERS[name](providers, client, url=url)
            error = await failure(provider.enroll(enrolling(new_label())))
            assert (error.kind, error.status) == (ErrorKind.MISCONFIGURED, 307)
    assert asked == []


@pytest.mark.parametrize("what", ["endless", "slow"])
async def test_an_answer_has_bounds(providers: Simulator, client: HttpClient, name: str, what: str) -> None:
    """Neither bytes without end nor a byte now and then hold a call."""
    stopped = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1 << 20) if what == "endless" else b" "
                await asyncio.sleep(0 if what == "endless" else 0.05)
        finally:
            stopped.set()

    async def answer(_: Request) -> Response:
        return Response(body=parts())

    async with answering(answer) as url:
        seconds = {"create_seconds": 60.0 if what == "endless" else 0.5}
        provider = ADAPTERS[name](providers, client, url=url, **seconds)
        error = await failure(provider.enroll(enrolling(new_label())))
        assert error.kind is (ErrorKind.UNKNOWN if name in VENDORS else ErrorKind.UNAVAILABLE)
        async with asyncio.timeout(10):
            await stopped.wait()


async def test_no_key_no_text_and_no_sample_is_told(
    providers: Simulator, client: HttpClient, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    secrets = ["sk-sim-hush-0123456789" if name == "qwen" else "sim-hush-0123456789", "a private text"]
    provider = ADAPTERS[name](providers, client, api_key=secrets[0])
    enrolled = await provider.enroll(enrolling(new_label(), transcript=secrets[1]))
    words, texts = f"Authorization failed for {secrets[0]}", [repr(provider)]
    for fault, how in (
        ("error", {"status": 401, "code": words, "message": words}),
        ("error", {"status": 400, "code": "odd", "message": words}),
        ("reset", {}),
    ):
        providers.fault(name, "speech", fault, **how)
        error = await failure(
            provider.synthesize(speaking(enrolled.provider_voice_id, enrolled.target_model, secrets[1]))
        )
        assert (error.__cause__, error.__context__) == (None, None)
        texts += [str(error), repr(error), error.message, repr(vars(error))]
    for said in [*texts, caplog.text]:
        assert not any(secret in said for secret in secrets)
