"""Bodies and forms: each fault with its field, all at once, and no name of a Python type."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backend.domains.reflections.clone_routes import CloneForm
from backend.domains.samples.routes import NewUpload
from backend.domains.samples.sample_routes import SampleForm
from backend.errors import InvalidInput
from backend.web.strict_input import require_valid
from tests.backend.conftest import Served, served
from tests.backend.test_employee_consents import headers

UPLOAD = {"consent_id": str(uuid4()), "content_type": "audio/wav", "bytes": 1000}


def found(value: Any, kind: Any, *, is_form: bool = False) -> dict[str | None, str]:
    with pytest.raises(InvalidInput) as refused:
        require_valid(value, kind, is_form=is_form)
    return {each["field"]: each["message"] for each in refused.value.extra["errors"]}


def test_all_faults_are_told_at_once() -> None:
    body = {"consent_id": "x", "bytes": "1000", "language": 3, "extra": 1}
    assert found(body, NewUpload) == {
        "consent_id": "Invalid UUID.",
        "content_type": "This field is missing.",
        "bytes": "Expected integer, got string.",
        "language": "Expected string or null, got integer.",
        "extra": "There is no such field.",
    }


def test_a_body_that_is_no_object_is_one_fault() -> None:
    assert found([], NewUpload) == {None: "Expected object, got array."}


@pytest.mark.parametrize(
    ("kind", "missing"),
    [(CloneForm, {"consent_id", "name", "language"}), (SampleForm, {"consentId", "language"})],
)
def test_a_missing_field_of_a_form_is_named(kind: Any, missing: set[str]) -> None:
    assert set(found({}, kind, is_form=True)) == missing


def test_what_is_right_is_taken() -> None:
    assert require_valid(UPLOAD, NewUpload).bytes == 1000


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, "postgresql://127.0.0.1:1/x") as running:
        yield running


async def test_a_route_tells_every_fault_and_takes_no_text_for_a_number(service: Served) -> None:
    sent = {"version": "1", "locale": 7}
    answer = await service.http.post("/v1/consents", json=sent, headers=headers(uuid4()))
    told = answer.json()
    assert (answer.status_code, told["code"], told["field"]) == (422, "invalid_input", "locale")
    assert {each["field"] for each in told["errors"]} == {"version", "locale"}
    assert not {"`int`", "`str`", "int", "str"} & set(answer.text.replace('"', " ").split())
    unnamed = await service.http.post("/v1/consents", json={}, headers=headers(uuid4()))
    assert (unnamed.status_code, unnamed.json()["field"]) == (422, "version")
    path = "/api/v1/clone?limit=many"
    answer = await service.http.get(path, headers=headers(uuid4()))
    assert (answer.status_code, answer.json()["field"]) == (422, "limit")
    assert "`" not in answer.json()["detail"]
