"""Every refusal, fault and lost response of Cartesia becomes one of our error kinds."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from backend.providers.base import ErrorKind, ProviderError, new_label
from backend.providers.cartesia.adapter import Cartesia
from backend.web.http_client import HttpClient
from scripts.local.simulator.http import Request, Response, Server
from tests.backend.adapters import enrolling, speaking
from tests.simulators import CARTESIA_KEY, BytesSample, Simulator, spoken_sample


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as opened:
        yield opened


@pytest.fixture
def cartesia(providers: Simulator, client: HttpClient) -> Cartesia:
    providers.reset()
    return Cartesia(providers.cartesia(), client)


async def failure_of_create(
    cartesia: Cartesia, label: str | None = None, data: bytes | None = None
) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        await cartesia.enroll(enrolling(label or new_label(), BytesSample(data) if data else None))
    return raised.value


REFUSALS = [
    (400, "", ErrorKind.REJECTED, "sample_rejected"),
    (400, "model_not_found", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (400, "never_heard_of", ErrorKind.REJECTED, "sample_rejected"),
    (401, "", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (402, "", ErrorKind.MISCONFIGURED, "provider_quota_exceeded"),
    (403, "", ErrorKind.MISCONFIGURED, "provider_plan_insufficient"),
    (404, "", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (408, "", ErrorKind.UNKNOWN, "outcome_unknown"),
    (413, "", ErrorKind.REJECTED, "sample_too_large"),
    (422, "", ErrorKind.REJECTED, "sample_rejected"),
    (429, "concurrency_limited", ErrorKind.THROTTLED, "provider_throttled"),
    (429, "", ErrorKind.THROTTLED, "provider_throttled"),
    (500, "", ErrorKind.UNKNOWN, "outcome_unknown"),
    (500, "concurrency_limited", ErrorKind.UNKNOWN, "outcome_unknown"),
    (503, "", ErrorKind.UNKNOWN, "outcome_unknown"),
]


@pytest.mark.parametrize(("status", "code", "kind", "ours"), REFUSALS)
async def test_each_refusal_of_a_create_has_its_kind(
    providers: Simulator, cartesia: Cartesia, status: int, code: str, kind: ErrorKind, ours: str
) -> None:
    providers.fault("cartesia", "create", "error", status=status, code=code, message="said by the vendor")
    error = await failure_of_create(cartesia)
    assert (error.kind, error.code, error.status, error.provider_code) == (kind, ours, status, code or None)
    assert error.request_id
    assert "vendor" not in error.message
    assert len(providers.calls("cartesia", "create")) == 1


SPEECH_REFUSALS = [
    (400, "voice_not_found", ErrorKind.REJECTED, "voice_not_found"),
    (404, "", ErrorKind.REJECTED, "voice_not_found"),
    (400, "model_not_found", ErrorKind.MISCONFIGURED, "provider_misconfigured"),
    (400, "", ErrorKind.REJECTED, "provider_rejected"),
    (402, "", ErrorKind.MISCONFIGURED, "provider_quota_exceeded"),
    (429, "concurrency_limited", ErrorKind.THROTTLED, "provider_throttled"),
    (500, "", ErrorKind.UNAVAILABLE, "provider_unavailable"),
]


@pytest.mark.parametrize(("status", "code", "kind", "ours"), SPEECH_REFUSALS)
async def test_each_refusal_of_a_speech_has_its_kind(
    providers: Simulator, cartesia: Cartesia, status: int, code: str, kind: ErrorKind, ours: str
) -> None:
    providers.fault("cartesia", "speech", "error", status=status, code=code)
    with pytest.raises(ProviderError) as raised:
        await cartesia.synthesize(speaking("abc", "sonic-3.5"))
    assert (raised.value.kind, raised.value.code) == (kind, ours)


async def test_a_model_that_cartesia_does_not_have_is_misconfigured(cartesia: Cartesia) -> None:
    enrolled = await cartesia.enroll(enrolling(new_label()))
    with pytest.raises(ProviderError) as raised:
        await cartesia.synthesize(speaking(enrolled.provider_voice_id, "symphony-1"))
    assert raised.value.kind is ErrorKind.MISCONFIGURED


@pytest.mark.parametrize(
    "body", [b"", b"Title: Message", b"[]", b'{"error_code": 7}', b'{"error_code": ["odd"]}', b"\xff"]
)
async def test_every_shape_of_refusal_is_read(providers: Simulator, client: HttpClient, body: bytes) -> None:
    async def answer(_: Request) -> Response:
        return Response(status=400, body=body)

    vendor = Server(answer)
    port = await vendor.start("127.0.0.1", 0)
    adapter = Cartesia(providers.cartesia(base_url=f"http://127.0.0.1:{port}"), client)
    assert (await failure_of_create(adapter)).code == "sample_rejected"
    await vendor.close()


async def test_a_list_that_ignores_its_cursor_does_not_go_on_for_ever(
    providers: Simulator, client: HttpClient
) -> None:
    async def answer(_: Request) -> Response:
        return Response(body=b'{"data": [{"id": "a", "name": "x"}]}')

    vendor = Server(answer)
    port = await vendor.start("127.0.0.1", 0)
    adapter = Cartesia(providers.cartesia(base_url=f"http://127.0.0.1:{port}"), client)
    with pytest.raises(ProviderError, match="PagingStuck"):
        await adapter.find("abc")
    await vendor.close()


@pytest.mark.parametrize("operation", ["list", "get", "delete"])
async def test_a_server_error_of_any_other_call_is_unavailable(
    providers: Simulator, cartesia: Cartesia, operation: str
) -> None:
    calls = {
        "list": lambda: cartesia.find("abc"),
        "get": lambda: cartesia.describe("abc"),
        "delete": lambda: cartesia.delete("abc"),
    }
    for fault in ("internal_error", "unavailable", "bad_gateway", "reset"):
        providers.fault("cartesia", operation, fault)
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
    adapter, label = Cartesia(providers.cartesia(create_seconds=patience), client), new_label()
    providers.fault("cartesia", "create", fault, match=label, **how)
    error = await failure_of_create(adapter, label)
    assert (error.kind, error.code) == (ErrorKind.UNKNOWN, "outcome_unknown")
    assert len(providers.calls("cartesia", "create", label)) == 1
    assert (await adapter.find(label) is not None) == bool(voices)
    assert len(providers.voices("cartesia", label)) == voices


@pytest.mark.parametrize("seconds", [None, 7.0])
async def test_throttling_carries_the_wait_that_the_vendor_asks_for(
    providers: Simulator, cartesia: Cartesia, seconds: float | None
) -> None:
    providers.fault("cartesia", "create", "throttled", retry_after=seconds)
    error = await failure_of_create(cartesia)
    assert (error.kind, error.retry_after) == (ErrorKind.THROTTLED, seconds)


async def test_a_plan_without_voices_left_is_misconfigured(providers: Simulator, cartesia: Cartesia) -> None:
    """Cartesia documents no code for it, so that it cannot be told from a plan that is used up."""
    providers.fault("cartesia", "create", "slots_full")
    error = await failure_of_create(cartesia)
    assert (error.kind, error.code) == (ErrorKind.MISCONFIGURED, "provider_quota_exceeded")


async def test_an_unknown_key_is_misconfigured(providers: Simulator, client: HttpClient) -> None:
    adapter = Cartesia(providers.cartesia(api_key=f"not-{CARTESIA_KEY}"), client)
    assert (await failure_of_create(adapter)).kind is ErrorKind.MISCONFIGURED


@pytest.mark.parametrize("data", [spoken_sample(0.5), b"these are words, not sound"], ids=["short", "text"])
async def test_a_bad_sample_is_refused(cartesia: Cartesia, data: bytes) -> None:
    error = await failure_of_create(cartesia, data=data)
    assert (error.kind, error.code) == (ErrorKind.REJECTED, "sample_rejected")
