"""Every refusal, fault and lost response of ElevenLabs becomes one of our error kinds."""

from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from backend.providers.base import EnrollRequest, ErrorKind, ProviderError, SpeechRequest, new_label
from backend.providers.elevenlabs.adapter import ElevenLabs
from backend.web.http_client import HttpClient
from scripts.local.simulator.http import Request, Response, Server
from tests.simulators import ELEVENLABS_KEY, BytesSample, Simulator, spoken_sample


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as opened:
        yield opened


@pytest.fixture
def elevenlabs(providers: Simulator, client: HttpClient) -> ElevenLabs:
    providers.reset()
    return ElevenLabs(providers.elevenlabs(), client)


async def failure_of_create(
    elevenlabs: ElevenLabs, label: str | None = None, data: bytes | None = None
) -> ProviderError:
    sample = BytesSample(spoken_sample() if data is None else data)
    with pytest.raises(ProviderError) as raised:
        await elevenlabs.enroll(
            EnrollRequest(
                label=label or new_label(), name="Ada", language="en", transcript=None, sample=sample
            )
        )
    return raised.value


REFUSALS = [
    (400, "text_too_long", ErrorKind.REJECTED, "text_too_long"),
    (400, "empty_text", ErrorKind.REJECTED, "text_empty"),
    (400, "invalid_voice_id", ErrorKind.REJECTED, "voice_not_found"),
    (400, "invalid_audio", ErrorKind.REJECTED, "invalid_format"),
    (400, "invalid_audio_format", ErrorKind.REJECTED, "invalid_format"),
    (400, "audio_too_long", ErrorKind.REJECTED, "sample_too_long"),
    (400, "audio_too_short", ErrorKind.REJECTED, "sample_too_short"),
    (400, "invalid_file_type", ErrorKind.REJECTED, "invalid_format"),
    (400, "invalid_parameters", ErrorKind.REJECTED, "provider_rejected"),
    (400, "voice_limit_reached", ErrorKind.FULL, "provider_full"),
    (400, "paid_plan_required", ErrorKind.MISCONFIGURED, "provider_plan_insufficient"),
    (400, "can_not_use_instant_voice_cloning", ErrorKind.MISCONFIGURED, "provider_plan_insufficient"),
    (401, "invalid_api_key", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (401, "missing_api_key", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (401, "quota_exceeded", ErrorKind.MISCONFIGURED, "provider_quota_exceeded"),
    (402, "insufficient_credits", ErrorKind.MISCONFIGURED, "provider_quota_exceeded"),
    (403, "feature_not_available", ErrorKind.MISCONFIGURED, "provider_plan_insufficient"),
    (403, "subscription_required", ErrorKind.MISCONFIGURED, "provider_plan_insufficient"),
    (403, "voice_access_denied", ErrorKind.REJECTED, "voice_access_denied"),
    (404, "voice_not_found", ErrorKind.REJECTED, "voice_not_found"),
    (404, "model_not_found", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (409, "voice_already_exists", ErrorKind.UNKNOWN, "outcome_unknown"),
    (409, "already_running", ErrorKind.THROTTLED, "provider_throttled"),
    (429, "rate_limit_exceeded", ErrorKind.THROTTLED, "provider_throttled"),
    (429, "concurrent_limit_exceeded", ErrorKind.THROTTLED, "provider_throttled"),
    (429, "too_many_concurrent_requests", ErrorKind.THROTTLED, "provider_throttled"),
    (429, "system_busy", ErrorKind.THROTTLED, "provider_throttled"),
    (500, "internal_error", ErrorKind.UNKNOWN, "outcome_unknown"),
    (503, "service_unavailable", ErrorKind.UNKNOWN, "outcome_unknown"),
    (503, "maintenance", ErrorKind.UNKNOWN, "outcome_unknown"),
    (400, "never_heard_of", ErrorKind.REJECTED, "provider_rejected"),
    (403, "never_heard_of", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (413, "never_heard_of", ErrorKind.REJECTED, "sample_too_large"),
]


@pytest.mark.parametrize(("status", "code", "kind", "ours"), REFUSALS)
async def test_each_refusal_of_a_create_has_its_kind(
    providers: Simulator, elevenlabs: ElevenLabs, status: int, code: str, kind: ErrorKind, ours: str
) -> None:
    providers.fault("elevenlabs", "create", "error", status=status, code=code, message="said by the vendor")
    error = await failure_of_create(elevenlabs)
    assert (error.kind, error.code, error.status, error.provider_code) == (kind, ours, status, code)
    assert error.request_id
    assert "vendor" not in error.message
    assert len(providers.calls("elevenlabs", "create")) == 1


SHAPES = [
    (401, {"status": "quota_exceeded", "message": "m"}, "provider_quota_exceeded"),
    (400, {"code": "audio_too_short", "status": "invalid_parameters"}, "sample_too_short"),
    (400, {"code": "never_heard_of", "status": "voice_limit_reached"}, "provider_full"),
    (422, [{"loc": ["body", "files"], "msg": "Field required", "type": "missing"}], "provider_rejected"),
    (404, "Not Found", "provider_misconfigured"),
    (429, None, "provider_throttled"),
    (400, {"code": ["odd"], "status": 7}, "provider_rejected"),
]


@pytest.mark.parametrize(("status", "detail", "ours"), SHAPES)
async def test_every_shape_of_refusal_is_read(
    providers: Simulator, client: HttpClient, status: int, detail: object, ours: str
) -> None:
    async def answer(_: Request) -> Response:
        return Response(status=status, body=msgspec.json.encode({"detail": detail}))

    vendor = Server(answer)
    port = await vendor.start("127.0.0.1", 0)
    adapter = ElevenLabs(providers.elevenlabs(base_url=f"http://127.0.0.1:{port}"), client)
    assert (await failure_of_create(adapter)).code == ours
    await vendor.close()


@pytest.mark.parametrize("operation", ["list", "get", "delete", "speech", "subscription"])
async def test_a_server_error_of_any_other_call_is_unavailable(
    providers: Simulator, elevenlabs: ElevenLabs, operation: str
) -> None:
    said = SpeechRequest(provider_voice_id="abc", target_model="eleven_v3", text="Hello", language="en")
    calls = {
        "list": lambda: elevenlabs.find("abc"),
        "get": lambda: elevenlabs.describe("abc"),
        "delete": lambda: elevenlabs.delete("abc"),
        "speech": lambda: elevenlabs.synthesize(said),
        "subscription": elevenlabs.slots,
    }
    for fault in ("internal_error", "unavailable", "bad_gateway", "reset"):
        providers.fault("elevenlabs", operation, fault)
        with pytest.raises(ProviderError) as raised:
            await calls[operation]()
        assert (raised.value.kind, raised.value.code) == (ErrorKind.UNAVAILABLE, "provider_unavailable")


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
    adapter, label = ElevenLabs(providers.elevenlabs(create_seconds=patience), client), new_label()
    providers.fault("elevenlabs", "create", fault, match=label, **how)
    error = await failure_of_create(adapter, label)
    assert (error.kind, error.code) == (ErrorKind.UNKNOWN, "outcome_unknown")
    assert len(providers.calls("elevenlabs", "create", label)) == 1
    assert (await adapter.find(label) is not None) == bool(voices)
    assert len(providers.voices("elevenlabs", label)) == voices


async def test_a_connection_that_never_stood_had_no_effect(providers: Simulator, client: HttpClient) -> None:
    adapter = ElevenLabs(providers.elevenlabs(base_url="http://127.0.0.1:1"), client)
    assert (await failure_of_create(adapter)).kind is ErrorKind.UNAVAILABLE


@pytest.mark.parametrize("seconds", [None, 7.0])
async def test_throttling_carries_the_wait_that_the_vendor_asks_for(
    providers: Simulator, elevenlabs: ElevenLabs, seconds: float | None
) -> None:
    providers.fault("elevenlabs", "create", "throttled", retry_after=seconds)
    error = await failure_of_create(elevenlabs)
    assert (error.kind, error.retry_after) == (ErrorKind.THROTTLED, seconds)


async def test_full_slots_are_full(providers: Simulator, elevenlabs: ElevenLabs) -> None:
    providers.fault("elevenlabs", "create", "slots_full")
    assert (await failure_of_create(elevenlabs)).kind is ErrorKind.FULL


async def test_an_unknown_key_is_misconfigured(providers: Simulator, client: HttpClient) -> None:
    adapter = ElevenLabs(providers.elevenlabs(api_key=f"not-{ELEVENLABS_KEY}"), client)
    assert (await failure_of_create(adapter)).kind is ErrorKind.MISCONFIGURED


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (spoken_sample(0.5), "sample_too_short"),
        (b"these are words, not sound", "invalid_format"),
        (bytes(10 * 1024 * 1024 + 1), "sample_too_large"),
    ],
    ids=["short", "text", "large"],
)
async def test_a_bad_sample_is_refused(elevenlabs: ElevenLabs, data: bytes, code: str) -> None:
    error = await failure_of_create(elevenlabs, data=data)
    assert (error.kind, error.code) == (ErrorKind.REJECTED, code)
