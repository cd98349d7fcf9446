"""Every refusal, fault and lost response of Qwen becomes one of our error kinds."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from backend.providers.base import EnrollRequest, ErrorKind, ProviderError, new_label
from backend.providers.qwen.adapter import Qwen, QwenConfig
from backend.web.http_client import HttpClient
from tests.simulators import QWEN_KEY, BytesSample, Simulator, spoken_sample

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


async def failure_of_create(qwen: Qwen, label: str | None = None, data: bytes | None = None) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        await qwen.enroll(request(label or new_label(), data))
    return raised.value


CREATE_ERRORS = [
    (400, "Audio.PreprocessError", ErrorKind.REJECTED, "sample_rejected"),
    (400, "Audio.DecoderError", ErrorKind.REJECTED, "invalid_format"),
    (400, "Audio.AudioRateError", ErrorKind.REJECTED, "sample_rate_too_low"),
    (400, "Audio.DurationLimitError", ErrorKind.REJECTED, "sample_too_long"),
    (400, "Audio.SomethingNew", ErrorKind.REJECTED, "sample_rejected"),
    (400, "BadRequest.VoiceNotFound", ErrorKind.REJECTED, "voice_not_found"),
    (400, "Throttling.AllocationQuota", ErrorKind.FULL, "provider_full"),
    (400, "InvalidParameter", ErrorKind.REJECTED, "provider_rejected"),
    (401, "InvalidApiKey", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (403, "AccessDenied.Unpurchased", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (403, "Model.AccessDenied", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (403, "AllocationQuota.FreeTierOnly", ErrorKind.MISCONFIGURED, "provider_quota_exceeded"),
    (404, "ModelNotFound", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (429, "Throttling", ErrorKind.THROTTLED, "provider_throttled"),
    (429, "Throttling.RateQuota", ErrorKind.THROTTLED, "provider_throttled"),
    (429, "Throttling.BurstRate", ErrorKind.THROTTLED, "provider_throttled"),
    (429, "Throttling.AllocationQuota", ErrorKind.THROTTLED, "provider_throttled"),
    (500, "InternalError", ErrorKind.UNKNOWN, "outcome_unknown"),
    (500, "InternalError.Algo", ErrorKind.UNKNOWN, "outcome_unknown"),
    (500, "RequestTimeOut", ErrorKind.UNKNOWN, "outcome_unknown"),
    (503, "ModelUnavailable", ErrorKind.UNKNOWN, "outcome_unknown"),
    (400, "NeverHeardOf", ErrorKind.REJECTED, "provider_rejected"),
    (403, "NeverHeardOf", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (413, "NeverHeardOf", ErrorKind.REJECTED, "sample_too_large"),
    (429, "NeverHeardOf", ErrorKind.THROTTLED, "provider_throttled"),
]


@pytest.mark.parametrize(("status", "code", "kind", "ours"), CREATE_ERRORS)
async def test_each_refusal_of_a_create_has_its_kind(
    providers: Simulator, qwen: Qwen, status: int, code: str, kind: ErrorKind, ours: str
) -> None:
    providers.fault("qwen", "create", "error", status=status, code=code, message="said by the vendor")
    error = await failure_of_create(qwen)
    assert (error.kind, error.code, error.status, error.provider_code) == (kind, ours, status, code)
    assert error.request_id
    assert "vendor" not in error.message
    assert len(providers.calls("qwen", "create")) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_error_of_any_other_call_is_unavailable(
    providers: Simulator, qwen: Qwen, status: int
) -> None:
    providers.fault("qwen", "list", "error", status=status, code="InternalError")
    with pytest.raises(ProviderError) as raised:
        await qwen.find("anything")
    assert raised.value.kind is ErrorKind.UNAVAILABLE


UNKNOWN_OUTCOMES = [
    ("reset", {}, 0),
    ("reset", {"after_commit": True}, 1),
    ("bad_gateway", {}, 0),
    ("bad_gateway", {"after_commit": True}, 1),
    ("internal_error", {"after_commit": True}, 1),
    ("garbled", {"after_commit": True}, 1),
    ("hang", {}, 0),
    ("hang", {"after_commit": True}, 1),
]


@pytest.mark.parametrize(("fault", "how", "voices"), UNKNOWN_OUTCOMES)
async def test_a_lost_answer_is_unknown_and_the_label_tells_what_happened(
    providers: Simulator, client: HttpClient, fault: str, how: dict[str, bool], voices: int
) -> None:
    patience = 0.3 if fault == "hang" else 10.0
    qwen, label = Qwen(providers.qwen(**STREAMED, create_seconds=patience), client), new_label()
    providers.fault("qwen", "create", fault, match=label, **how)
    error = await failure_of_create(qwen, label)
    assert (error.kind, error.code) == (ErrorKind.UNKNOWN, "outcome_unknown")
    assert len(providers.calls("qwen", "create", label)) == 1
    found = await qwen.find(label)
    assert (found is not None) == bool(voices)
    assert len(providers.voices("qwen", label)) == voices
    if found:
        assert (found.label, found.target_model) == (label, MODEL)


async def test_a_connection_that_never_stood_had_no_effect(client: HttpClient) -> None:
    config = QwenConfig(api_key=QWEN_KEY, region="singapore", base_url="http://127.0.0.1:1", **STREAMED)
    error = await failure_of_create(Qwen(config, client))
    assert error.kind is ErrorKind.UNAVAILABLE


@pytest.mark.parametrize("seconds", [None, 7.0])
async def test_throttling_carries_the_wait_that_the_vendor_asks_for(
    providers: Simulator, qwen: Qwen, seconds: float | None
) -> None:
    providers.fault("qwen", "create", "throttled", retry_after=seconds)
    error = await failure_of_create(qwen)
    assert (error.kind, error.retry_after) == (ErrorKind.THROTTLED, seconds)


async def test_full_slots_are_full_and_not_throttled(providers: Simulator, qwen: Qwen) -> None:
    providers.fault("qwen", "create", "slots_full")
    assert (await failure_of_create(qwen)).kind is ErrorKind.FULL


async def test_a_key_of_another_region_is_misconfigured(providers: Simulator, client: HttpClient) -> None:
    config = providers.qwen("singapore", api_key="sk-sim-beijing-1", **STREAMED)
    assert (await failure_of_create(Qwen(config, client))).kind is ErrorKind.MISCONFIGURED
    config = providers.qwen("beijing", api_key="sk-sim-beijing-1", **STREAMED)
    assert await Qwen(config, client).enroll(request(new_label()))


SAMPLES = [
    (spoken_sample(1.0), "sample_rejected", "Audio.PreprocessError"),
    (spoken_sample(61.0), "sample_too_long", "Audio.DurationLimitError"),
    (spoken_sample(10.0, 16_000), "sample_rate_too_low", "Audio.AudioRateError"),
    (b"these are words, not sound", "invalid_format", "Audio.DecoderError"),
    (spoken_sample()[:44] + bytes(480_000), "sample_rejected", "Audio.PreprocessError"),
]


@pytest.mark.parametrize(("data", "code", "vendor"), SAMPLES, ids=["short", "long", "rate", "text", "silent"])
async def test_a_bad_sample_is_refused_in_the_vendors_words(
    qwen: Qwen, data: bytes, code: str, vendor: str
) -> None:
    error = await failure_of_create(qwen, data=data)
    assert (error.kind, error.code, error.provider_code) == (ErrorKind.REJECTED, code, vendor)
