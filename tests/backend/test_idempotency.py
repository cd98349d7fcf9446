"""The fingerprint of a call: whatever makes it another call makes another fingerprint."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, post, route
from litestar.datastructures import FormMultiDict

from backend.web.idempotency import fingerprint
from backend.web.request_bounds import TAKES_SAMPLE

CALL: dict[str, Any] = {
    "method": "POST",
    "path": "/v1/reflections/1/voice/clone",
    "query": {"provider": "local"},
    "content_type": "application/json",
    "body": b'{"name": "Ada", "language": "en"}',
}
OTHERS = {
    "method": "PUT",
    "path": "/v1/reflections/2/voice/clone",
    "query": {"provider": "qwen"},
    "content_type": "text/plain",
    "body": b'{"name": "Bea", "language": "en"}',
}


@route("/{path:path}", http_method=["POST", "PUT"])
async def show_fingerprint(request: Request[Any, Any, Any]) -> bytes:
    return await fingerprint(request, FormMultiDict())


@post("/form", opt={TAKES_SAMPLE: True})
async def show_fingerprint_of_form(request: Request[Any, Any, Any]) -> bytes:
    return await fingerprint(request, await request.form())


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[httpx.AsyncClient]:
    app: Any = Litestar([show_fingerprint, show_fingerprint_of_form], logging_config=None)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


async def of(service: httpx.AsyncClient, **changes: Any) -> bytes:
    call = CALL | changes
    answer = await service.request(
        call["method"], call["path"], params=call["query"], content=call["body"],
        headers={"content-type": call["content_type"]},
    )  # fmt: skip
    assert answer.is_success, answer.text
    return answer.content


@pytest.mark.parametrize("part", OTHERS)
async def test_another_method_path_query_type_or_body_is_another_call(
    service: httpx.AsyncClient, part: str
) -> None:
    assert await of(service, **{part: OTHERS[part]}) != await of(service)


async def test_json_that_is_formatted_differently_is_the_same_call(service: httpx.AsyncClient) -> None:
    assert await of(service, body=b'{"language":"en","name":"\\u0041da"}') == await of(service)
    assert await of(service, body=b"not JSON") != await of(service, body=b"not  JSON")


async def test_a_byte_that_moves_from_one_part_to_the_next_makes_another_call(
    service: httpx.AsyncClient,
) -> None:
    assert await of(service, path="/a", query={"b": "c"}) != await of(service, path="/ab", query={"": "c"})


async def of_form(service: httpx.AsyncClient, content: bytes = b"RIFF", **changes: str) -> bytes:
    call = {"kind": "audio/wav", "field": "sample", "name": "Ada", "boundary": "one"} | changes
    file = ("sample.wav", content, call["kind"])
    headers = {"content-type": f"multipart/form-data; boundary={call['boundary']}"}
    answer = await service.post(
        "/form", data={"name": call["name"]}, files={call["field"]: file}, headers=headers
    )
    assert answer.is_success, answer.text
    return answer.content


async def test_a_form_of_other_fields_or_another_file_is_another_call(service: httpx.AsyncClient) -> None:
    first = await of_form(service)
    assert await of_form(service, boundary="another") == first
    assert await of_form(service, b"RIFX") != first
    assert await of_form(service, kind="audio/mpeg") != first
    assert await of_form(service, field="audio") != first
    assert await of_form(service, name="Bea") != first
