"""The Qwen adapter against the real simulator process: each row of the error table and each fault."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from backend.providers.base import Enrolled, EnrollRequest, ErrorKind, ProviderError, SpeechRequest, new_label
from backend.providers.qwen.adapter import Qwen, QwenConfig, count_characters
from backend.web.http_client import HttpClient
from tests.simulators import (
    SIGNED_TOKEN,
    BytesSample,
    Simulator,
    assert_is_speech,
    sample_host,
    spoken_sample,
)

MODEL = "qwen3-tts-vc-2026-01-22"
STREAMED: dict[str, Any] = {"send_sample_as": "data_url"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as opened:
        yield opened


@pytest.fixture
def qwen(providers: Simulator, client: HttpClient) -> Qwen:
    providers.reset()
    return Qwen(providers.qwen(**STREAMED), client)


def request(label: str, data: bytes | None = None, language: str = "en") -> EnrollRequest:
    sample = BytesSample(spoken_sample() if data is None else data)
    return EnrollRequest(label=label, name="Ada", language=language, transcript=None, sample=sample)


def speech(enrolled: Enrolled, text: str = "Good morning, this is my own voice speaking.") -> SpeechRequest:
    return SpeechRequest(
        provider_voice_id=enrolled.provider_voice_id,
        target_model=enrolled.target_model,
        text=text,
        language="en",
    )


async def test_a_voice_is_enrolled_found_described_listed_spoken_and_deleted(qwen: Qwen) -> None:
    label = new_label()
    enrolled = await qwen.enroll(request(label))
    assert enrolled.target_model == MODEL
    assert f"-{label}-" in enrolled.provider_voice_id
    assert enrolled.request_id
    found = await qwen.find(label)
    assert found
    assert found == await qwen.describe(enrolled.provider_voice_id)
    assert [voice.label async for voice in qwen.list()] == [label]
    audio = await qwen.synthesize(speech(enrolled))
    assert_is_speech(audio)
    for _ in range(2):
        await qwen.delete(enrolled.provider_voice_id)
    assert await qwen.find(label) is None
    with pytest.raises(ProviderError, match="voice_not_found"):
        await qwen.synthesize(speech(enrolled))


async def test_a_voice_is_found_on_a_later_page(providers: Simulator, client: HttpClient) -> None:
    providers.reset()
    qwen = Qwen(providers.qwen(**STREAMED, page_size=2), client)
    labels = [new_label() for _ in range(5)]
    for label in labels:
        await qwen.enroll(request(label))
    found = await qwen.find(labels[0])
    assert found
    assert found.label == labels[0]
    assert [voice.label async for voice in qwen.list()] == labels[::-1]


async def test_a_lagging_list_shows_the_voice_later(providers: Simulator, qwen: Qwen) -> None:
    label = new_label()
    providers.fault("qwen", "create", "list_lag", lists=2)
    await qwen.enroll(request(label))
    assert [await qwen.find(label) is not None for _ in range(3)] == [False, False, True]


async def test_a_sample_is_fetched_by_its_signed_url(providers: Simulator, client: HttpClient) -> None:
    async with sample_host(spoken_sample()) as host:
        enrolled = await Qwen(providers.qwen(), client).enroll(by_url(host.sample))
    assert enrolled.provider_voice_id
    assert (host.downloads, host.sample.signed) == (1, 1)


async def test_a_stale_url_is_signed_again_once(providers: Simulator, client: HttpClient) -> None:
    label = new_label()
    async with sample_host(spoken_sample(), 400) as host:
        await Qwen(providers.qwen(), client).enroll(by_url(host.sample, label))
    assert host.sample.signed == 2
    assert len(providers.voices("qwen", label)) == 1


async def test_a_url_that_stays_stale_is_unavailable(providers: Simulator, client: HttpClient) -> None:
    providers.fault("qwen", "create", "expired_url", times=2)
    async with sample_host(spoken_sample()) as host:
        with pytest.raises(ProviderError) as raised:
            await Qwen(providers.qwen(), client).enroll(by_url(host.sample))
    assert (raised.value.kind, raised.value.code) == (ErrorKind.UNAVAILABLE, "sample_unreachable")
    assert (host.downloads, host.sample.signed) == (0, 2)


def by_url(sample: BytesSample, label: str | None = None) -> EnrollRequest:
    return EnrollRequest(
        label=label or new_label(), name="Ada", language="en", transcript="A fox.", sample=sample
    )


async def test_neither_key_nor_signed_url_is_ever_told(
    providers: Simulator, client: HttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config = providers.qwen(create_seconds=0.3)
    qwen, texts = Qwen(config, client), [repr(config)]
    secrets = f"{config.api_key} https://storage.example/sample?token={SIGNED_TOKEN}"
    faults = [
        ("error", {"status": 400, "code": f"Echo.{SIGNED_TOKEN}?{config.api_key}", "message": secrets}),
        ("error", {"status": 403, "code": secrets, "message": secrets}),
        ("hang", {}),
        ("reset", {}),
        ("garbled", {}),
    ]
    async with sample_host(spoken_sample()) as host:
        for fault, how in faults:
            providers.fault("qwen", "create", fault, **how)
            with pytest.raises(ProviderError) as raised:
                await qwen.enroll(by_url(host.sample))
            error = raised.value
            assert error.__cause__ is None
            assert error.__context__ is None
            texts += [str(error), repr(error), error.message, repr(vars(error))]
    for words in [*texts, caplog.text]:
        assert config.api_key not in words
        assert SIGNED_TOKEN not in words


async def test_a_sample_that_storage_does_not_give_is_no_fault_of_the_vendor(
    providers: Simulator, client: HttpClient
) -> None:
    short = BytesSample(spoken_sample())
    short.size += 1
    with pytest.raises(ProviderError) as raised:
        await Qwen(providers.qwen(**STREAMED), client).enroll(by_url(short))
    assert (raised.value.kind, raised.value.code) == (ErrorKind.UNAVAILABLE, "sample_unavailable")


@pytest.mark.parametrize(
    ("text", "code"), [("x" * 601, "text_too_long"), ("声" * 301, "text_too_long"), (" ", "text_empty")]
)
async def test_text_is_measured_before_it_is_sent(
    providers: Simulator, qwen: Qwen, text: str, code: str
) -> None:
    enrolled = Enrolled(provider_voice_id="qwen-tts-vc-a-voice-1", target_model=MODEL)
    with pytest.raises(ProviderError, match=code):
        await qwen.synthesize(speech(enrolled, text))
    assert not providers.calls("qwen", "speech")
    assert count_characters("ab声") == 4


async def test_a_language_the_vendor_does_not_clone_is_refused_before_the_call(
    providers: Simulator, qwen: Qwen
) -> None:
    with pytest.raises(ProviderError, match="language_unsupported"):
        await qwen.enroll(request(new_label(), language="fi"))
    assert not providers.calls("qwen", "create")


@pytest.mark.parametrize("fault", ["garbled", "bad_gateway", "reset"])
async def test_speech_that_does_not_arrive_is_unavailable(
    providers: Simulator, qwen: Qwen, fault: str
) -> None:
    enrolled = await qwen.enroll(request(new_label()))
    for operation in ("speech", "result"):
        providers.fault("qwen", operation, fault)
        with pytest.raises(ProviderError) as raised:
            await qwen.synthesize(speech(enrolled))
        assert raised.value.kind is ErrorKind.UNAVAILABLE


async def test_spoken_files_are_fetched_only_from_the_vendors_hosts(client: HttpClient) -> None:
    qwen = Qwen(QwenConfig(api_key="sk-1", region="beijing"), client)
    allowed = "http://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/a.wav?Expires=1"
    assert qwen._result_url(allowed) == allowed.replace("http:", "https:")  # noqa: SLF001
    for url in (
        "http://127.0.0.1/a.wav",
        "http://169.254.169.254/latest",
        "http://dashscope-result-bj.oss-cn-beijing.aliyuncs.com.evil.example/a.wav",
        "http://dashscope-result-bj.oss-cn-beijing.aliyuncs.com:8080/a.wav",
        "http://key@dashscope-result-bj.oss-cn-beijing.aliyuncs.com/a.wav",
        "file:///etc/passwd",
        "",
    ):
        assert qwen._result_url(url) is None  # noqa: SLF001
