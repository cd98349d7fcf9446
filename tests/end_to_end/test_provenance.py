"""What the product sends is marked: a preview, speech, and the result of a speech job."""

import re

import httpx
import pytest

from tests.end_to_end.conftest import Product, person
from tests.end_to_end.test_bad_input import answer
from tests.end_to_end.test_speech_jobs import CLONE, request, until_ended


@pytest.mark.parametrize(
    ("provider", "source_type"),
    [("qwen", "trainedAlgorithmicMedia"), pytest.param("local", "algorithmicMedia", marks=pytest.mark.long)],
)
async def test_each_audio_that_leaves_is_marked(
    product: Product, prepared: bytes, provider: str, source_type: str
) -> None:
    await product.start("service")
    await product.start("consumers")
    async with person(product) as ada, httpx.AsyncClient(trust_env=False) as http:
        upload = await ada.upload(prepared, provider=provider)
        assert (await ada.finalize(upload)).status_code == 201
        rendered = "select from public.voice_clone_attempts where id = %s and preview_status = 'rendered'"
        await product.until(rendered, upload["attempt_id"])
        shown = (await answer(ada, "GET", f"/v1/reflections/{ada.reflection}/voice")).json()
        audio = {"preview": (await http.get(shown["preview_url"])).content}
        text = {"voice_id": upload["voice_id"], "text": "Hello."}
        audio["speech"] = (await answer(ada, "POST", "/api/generate", json=text)).content
        for each in ("mp3", "flac", "m4a", "opus", "pcm"):
            spoken = await answer(ada, "POST", "/api/generate", json={**text, "format": each})
            audio[each] = spoken.content
            assert f'filename="speech.{each}"' in spoken.headers["content-disposition"]
            beside = re.fullmatch(
                r'<(/v1/provenance/\w{64})>; rel="c2pa-manifest"', spoken.headers.get("link", "")
            )
            assert (beside is not None) is (each in ("opus", "pcm")), spoken.headers
            if beside:
                manifest = await http.get(f"{product.stack.api_url}{beside[1]}")
                assert manifest.headers["content-type"] == "application/c2pa"
                assert upload["voice_id"].encode() not in manifest.content
        assert spoken.headers["content-type"].startswith("audio/pcm;rate=")
        job = await request(ada, str(product.attempt(upload["attempt_id"])["sample_id"]), provider=provider)
        assert (await until_ended(ada, job))["status"] == "succeeded"
        result = (await answer(ada, "GET", f"{CLONE}/{job}/result")).json()
        audio["job"] = (await http.get(result["audioUrl"])).content
        for name, content in audio.items():
            found = await http.post(f"{product.stack.api_url}/v1/verify", content=content)
            told = found.json()
            assert (name, told["verdict"], told["provider"]) == (name, "valid", provider)
            assert told["source_type"] == source_type
            assert told["signed_by"]["is_trusted"]
            for secret in (ada.reflection, upload["voice_id"], text["text"]):
                assert str(secret).encode() not in content
