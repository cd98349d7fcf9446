"""Wrong and hostile requests: a clear error with a stable code, and nothing is stored."""

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
import pytest_asyncio

from tests.end_to_end.bad_files import BAD_FILES
from tests.end_to_end.conftest import Person, Product, person


@pytest_asyncio.fixture(loop_scope="session")
async def ada(product: Product) -> AsyncIterator[Person]:
    await product.start("service")
    async with person(product) as made:
        yield made


async def answer(person: Person, method: str, path: str, **more: Any) -> httpx.Response:
    """The response, errors included; `token` replaces the user's own."""
    token = more.pop("token", None)
    headers = {**person.client.headers, **({"authorization": f"Bearer {token}"} if token else {})}
    headers.update(more.pop("headers", {}))
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        return await http.request(method, person.product.stack.api_url + path, headers=headers, **more)


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"].startswith("application/problem+json"), response.text
    return response.status_code, response.json()["code"]


def objects(product: Product) -> int:
    return product.row("select count(*) from storage.objects")["count"]


# Each kind has tests of the inspection too; here every second one, and the others in the long tests.
@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=pytest.mark.long if at % 2 else ()) for at, each in enumerate(BAD_FILES)],
)
async def test_a_bad_file_is_refused_and_removed(ada: Person, name: str) -> None:
    make, status, code = BAD_FILES[name]
    content = make()
    before = objects(ada.product)
    upload = await ada.open(bytes=len(content) or 1)
    await ada.put(upload, content)
    body = {"voice_id": upload["voice_id"], "name": "Ada", "language": "en"}
    refused = await answer(ada, "POST", "/api/clone/finalize", json=body)
    assert problem(refused) == (status, code)
    assert objects(ada.product) == before
    assert ada.product.attempt(upload["attempt_id"])["status"] == "awaiting_upload"


async def test_a_short_sample_is_told_what_would_pass(ada: Person) -> None:
    upload = await ada.upload(BAD_FILES["1.8 seconds"][0]())
    body = {"voice_id": upload["voice_id"], "name": "Ada", "language": "en"}
    refused = (await answer(ada, "POST", "/api/clone/finalize", json=body)).json()
    assert refused["detail"] == "sample too short: 1.8 s, at least 3 s"
    assert refused["findings"][0]["required"] == 3


async def test_a_file_of_another_size_than_declared_is_refused(ada: Person, prepared: bytes) -> None:
    upload = await ada.open(bytes=len(prepared))
    await ada.put(upload, prepared[:-2])
    body = {"voice_id": upload["voice_id"], "name": "Ada", "language": "en"}
    for _ in range(2):  # a file whose size is wrong makes no other size right
        refused = await answer(ada, "POST", "/api/clone/finalize", json=body)
        assert problem(refused) == (422, "sample_size_mismatch")
        told = refused.json()
        assert (told["uploaded_bytes"], told["declared_bytes"]) == (len(prepared) - 2, len(prepared))
        await ada.put(upload, prepared[:-2])
    await answer(ada, "POST", "/api/clone/finalize", json=body)
    await ada.put(upload, prepared)
    assert (await ada.finalize(upload)).status_code == 201


UPLOAD = "/api/clone/upload-url"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"bytes": "many"}, (422, "invalid_input")),
        ({"bytes": 0}, (422, "invalid_input")),
        ({"bytes": 200_000_000}, (413, "sample_too_large")),
        ({"content_type": "text/plain"}, (400, "invalid_format")),
        ({"consent_id": str(uuid4())}, (422, "consent_required")),
        ({"consent_id": 7}, (422, "invalid_input")),
        ({"reflection_id": str(uuid4())}, (404, "not_found")),
        ({"provider": "nobody"}, (422, "provider_not_configured")),
        ({"surprise": True}, (422, "invalid_input")),
    ],
)
async def test_an_upload_that_makes_no_sense_is_refused(
    ada: Person, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    body = {
        "consent_id": ada.consent,
        "content_type": "audio/wav",
        "bytes": 9,
        "reflection_id": ada.reflection,
    }
    before = ada.product.row("select count(*) from public.voice_clone_attempts")
    assert problem(await answer(ada, "POST", UPLOAD, json={**body, **changes})) == expected
    assert ada.product.row("select count(*) from public.voice_clone_attempts") == before


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "a\x00b"}, (422, "invalid_name")),
        ({"name": "a\nb"}, (422, "invalid_name")),
        ({"name": "a\u202eb"}, (422, "invalid_name")),
        ({"name": "x" * 10_000}, (422, "invalid_name")),
        ({"name": "   "}, (422, "invalid_name")),
        ({"name": 5}, (422, "invalid_input")),
        ({"language": "english"}, (422, "invalid_input")),
        ({"transcript": "x" * 5000}, (422, "invalid_transcript")),
        ({"voice_id": "nonsense"}, (422, "invalid_input")),
        ({"voice_id": str(uuid4())}, (404, "not_found")),
        ({}, (409, "upload_missing")),
    ],
)
async def test_a_finalize_that_makes_no_sense_is_refused(
    ada: Person, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    upload = await ada.open()
    body = {"voice_id": upload["voice_id"], "name": "Ada", "language": "en", **changes}
    assert problem(await answer(ada, "POST", "/api/clone/finalize", json=body)) == expected
    assert ada.product.attempt(upload["attempt_id"])["status"] == "awaiting_upload"


async def test_rows_of_another_user_are_not_found(ada: Person, prepared: bytes) -> None:
    upload = await ada.upload(prepared, provider="qwen")
    voice = (await ada.finalize(upload)).json()
    async with person(ada.product) as eve:
        for method, path, body in [
            ("GET", f"/v1/reflections/{ada.reflection}/voice", None),
            ("GET", f"/v1/reflections/{ada.reflection}/launch-gate", None),
            ("POST", f"/v1/reflections/{ada.reflection}/sessions", None),
            ("POST", f"/v1/reflections/{ada.reflection}/voice/preview", None),
            ("GET", f"/v1/reflections/{ada.reflection}/voice-clone-attempts", None),
            ("GET", f"/v1/reflections/{ada.reflection}/voice-clone-attempts/{upload['attempt_id']}", None),
            ("GET", f"/api/voices/{voice['voice_id']}", None),
            ("DELETE", f"/api/voices/{voice['voice_id']}", None),
            ("DELETE", f"/v1/consents/{ada.consent}", None),
            ("POST", "/api/generate", {"voice_id": voice["voice_id"], "text": "Hello."}),
            ("POST", "/api/clone/finalize", {"voice_id": voice["voice_id"], "name": "E", "language": "en"}),
        ]:
            assert problem(await answer(eve, method, path, json=body)) == (404, "not_found"), path
        storage = f"{ada.product.stack.supabase_url}/storage/v1/object/voice-samples/{upload['path']}"
        async with httpx.AsyncClient(trust_env=False) as http:
            stolen = await http.get(storage, headers=eve.client.headers)
            overwritten = await http.post(storage, headers=eve.client.headers, content=b"x")
        assert (stolen.status_code, overwritten.status_code) == (400, 400)
    assert (await answer(ada, "GET", f"/api/voices/{voice['voice_id']}")).status_code == 200


async def test_forged_tokens_are_refused(ada: Person) -> None:
    stack = ada.product.stack
    claims = {
        "sub": str(uuid4()),
        "role": "authenticated",
        "aud": "authenticated",
        "iss": f"{stack.supabase_url}/auth/v1",
        "exp": int(time.time()) + 600,
    }
    secret = stack.secrets.jwt_secret

    def unsigned() -> str:
        parts = ({"alg": "none", "typ": "JWT"}, claims)
        head, body = (
            base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in parts
        )
        return f"{head}.{body}."

    tokens = {
        "alg none": (unsigned(), "token_algorithm_refused"),
        "another project's": (jwt.encode(claims, "x" * 40), "token_signature_refused"),
        "another issuer's": (jwt.encode({**claims, "iss": "https://other"}, secret), "token_issuer_refused"),
        "expired": (jwt.encode({**claims, "exp": 1}, secret), "token_expired"),
        "anonymous": (jwt.encode({**claims, "role": "anon"}, secret), "token_role_refused"),
        "nonsense": ("nonsense", "token_malformed"),
    }
    found = {
        name: problem(await answer(ada, "GET", "/api/voices", token=token))
        for name, (token, _) in tokens.items()
    }
    assert found == {name: (401, code) for name, (_, code) in tokens.items()}
    assert (await answer(ada, "GET", "/api/voices", token=jwt.encode(claims, secret))).status_code == 200


async def test_a_used_upload_token_writes_nothing_again(ada: Person, prepared: bytes) -> None:
    upload = await ada.upload(prepared)
    path = "/storage/v1" + upload["upload_url"].partition("/storage/v1")[2]
    async with httpx.AsyncClient(trust_env=False) as http:
        again = await http.put(
            ada.product.stack.supabase_url + path, content=b"other", headers={"content-type": "audio/wav"}
        )
    assert again.json()["error"] == "Duplicate"


async def test_no_secret_and_no_signed_url_is_logged(ada: Person, prepared: bytes) -> None:
    upload = await ada.upload(prepared, provider="qwen")
    await ada.finalize(upload)
    stack = ada.product.stack
    log = (stack.processes.logs / "service.log").read_text()
    assert upload["attempt_id"] in log or '"/api/clone/finalize"' in log
    for secret in (
        stack.secret_key,
        stack.internal_token,
        upload["token"],
        ada.client.headers["authorization"],
    ):
        assert secret not in log
    assert "token=" not in log


MARKS = "a" + "\u0301" * 31
NEW_UPLOAD = {"consent_id": str(uuid4()), "content_type": "audio/wav", "bytes": 1000}
FINALIZE = {"voice_id": str(uuid4()), "name": "Ada", "language": "en"}
SPEECH = {"voice_id": str(uuid4()), "text": "x" * 50_001}
JOB = {"sampleId": str(uuid4()), "name": "Ada", "text": "Hello."}
PARTS = {"files": [(f"f{number}", (None, "x")) for number in range(101)]}
LONG_TYPE = {"content": b"x", "headers": {"content-type": "x" * 257}}
LONG_KEY = {"json": {}, "headers": {"idempotency-key": "x" * 256}}
# What is sent, and the code and the limit that is answered.
OVER_A_LIMIT: list[tuple[str, str, dict[str, Any], str, float]] = [
    ("GET", "/api/voices?limit=101", {}, "invalid_input", 100),
    ("GET", f"/api/voices?{'x' * 2048}", {}, "address_too_long", 2048),
    ("POST", "/v1/consents", LONG_TYPE, "unsupported_media_type", 256),
    ("POST", "/v1/consents", LONG_KEY, "idempotency_key_invalid", 255),
    ("POST", "/v1/consents", {"content": b"x" * 70_000}, "body_too_large", 65_536),
    ("POST", "/api/v1/voice-samples", PARTS, "body_too_large", 100),
    ("POST", "/api/clone/finalize", {"json": {**FINALIZE, "name": "x" * 121}}, "invalid_name", 120),
    ("POST", "/api/clone/finalize", {"json": {**FINALIZE, "name": " "}}, "invalid_name", 120),
    ("POST", "/api/clone/finalize", {"json": {**FINALIZE, "name": MARKS}}, "invalid_name", 30),
    (
        "POST",
        "/api/clone/finalize",
        {"json": {**FINALIZE, "transcript": "x" * 4001}},
        "invalid_transcript",
        4000,
    ),
    (
        "POST",
        "/api/clone/upload-url",
        {"json": {**NEW_UPLOAD, "bytes": 1 << 40}},
        "sample_too_large",
        10_485_760,
    ),
    ("POST", "/api/generate", {"json": SPEECH}, "invalid_input", 50_000),
    ("POST", "/api/v1/clone", {"json": {**JOB, "text": MARKS}}, "invalid_text", 30),
    ("POST", "/api/v1/clone", {"json": {**JOB, "text": "x" * 50_001}}, "invalid_input", 50_000),
]


async def test_each_input_that_is_over_a_limit_is_told_the_limit(ada: Person) -> None:
    told: list[tuple[str, float | None]] = []
    for method, path, parts, _, _ in OVER_A_LIMIT:
        refused = (await answer(ada, method, path, **parts)).json()
        told.append((refused["code"], refused.get("limit")))
    assert told == [(code, limit) for *_, code, limit in OVER_A_LIMIT]
