"""Text spoken with a voice, and the response when its provider fails."""

import pytest

from backend.lifecycle.synthesis.speaking import MOST_PARTS
from tests.end_to_end.conftest import Product, person
from tests.end_to_end.test_bad_input import answer

FAULTS = [  # fault, its settings, the expected status
    ("internal_error", {}, 503),
    ("throttled", {"retry_after": 7}, 503),
    ("error", {"status": 400, "code": "odd"}, 502),
    ("wrong_key", {}, 502),
]


@pytest.mark.parametrize(
    "provider",
    [
        "qwen",
        "modal",
        *(pytest.param(each, marks=pytest.mark.long) for each in ("elevenlabs", "cartesia", "pipecat")),
    ],
)
async def test_a_synthesis_that_fails_is_inference_failed(
    product: Product, prepared: bytes, provider: str
) -> None:
    await product.start("service")
    async with person(product) as ada:
        upload = await ada.upload(prepared, reflection_id=None, provider=provider)
        assert (await ada.finalize(upload)).status_code == 201
        text = {"voice_id": upload["voice_id"], "text": "Hello."}
        for fault, settings, expected in FAULTS:
            product.providers.fault(provider, "speech", fault, **settings)
            failed = await answer(ada, "POST", "/api/generate", json=text)
            body = failed.json()
            told = (failed.status_code, body["code"], body["provider"])
            assert told == (expected, "inference_failed", provider), fault
            assert ("retry-after" in failed.headers) is (expected == 503), settings
            assert failed.headers["content-type"] == "application/problem+json"
            if "retry_after" in settings:
                assert failed.headers["retry-after"] == "7"
        spoken = await answer(ada, "POST", "/api/generate", json=text)
        assert (spoken.status_code, spoken.content[:4]) == (200, b"RIFF")


async def test_a_text_longer_than_the_provider_takes_is_spoken_in_parts(
    product: Product, prepared: bytes
) -> None:
    await product.start("service")
    async with person(product) as ada:
        upload = await ada.upload(prepared, reflection_id=None, provider="qwen")
        assert (await ada.finalize(upload)).status_code == 201
        sentence = "The wind was strong, and it blew as hard as it could. "
        text = {"voice_id": upload["voice_id"], "text": sentence * 25}
        spoken = await answer(ada, "POST", "/api/generate", json=text)
        assert (spoken.status_code, spoken.content[:4]) == (200, b"RIFF")
        calls = [call["label"] for call in product.providers.calls("qwen", "speech")]
        assert [sum(call.count("wind") for call in calls), len(calls)] == [25, 3]
        product.providers.fault("qwen", "speech", "error", status=400, code="odd", match="wind")
        failed = await answer(ada, "POST", "/api/generate", json=text)
        assert (failed.status_code, failed.json()["code"]) == (502, "inference_failed")
        for long in ("a" * 50_000, sentence * 600):
            too_long = await answer(ada, "POST", "/api/generate", json=text | {"text": long})
            assert (too_long.status_code, too_long.json()["code"]) == (422, "text_too_long")
            assert too_long.json()["limit"] == MOST_PARTS


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("provider_account = 'of-another-key'", "provider_account_changed"),
        ("provider_region = 'elsewhere'", "provider_region_changed"),
        ("tts_provider = 'of-before'", "provider_not_configured"),
    ],
)
async def test_a_voice_that_is_elsewhere_is_not_spoken_with(
    product: Product, prepared: bytes, change: str, code: str
) -> None:
    await product.start("service")
    async with person(product) as ada:
        upload = await ada.upload(prepared, reflection_id=None, provider="cartesia")
        assert (await ada.finalize(upload)).status_code == 201
        product.row(f"update public.voices set {change} where id = %s returning id", upload["voice_id"])  # noqa: S608
        refused = await answer(
            ada, "POST", "/api/generate", json={"voice_id": upload["voice_id"], "text": "Hello."}
        )
        body = refused.json()
        assert (refused.status_code, body["code"]) == (503, code)
        assert body["detail"]
        assert refused.headers["retry-after"]
