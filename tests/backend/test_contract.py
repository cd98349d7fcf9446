"""The OpenAPI document: complete for each public route, and of one source with docs/errors.md."""

from collections.abc import Iterator
from typing import Any

import pytest

from backend.provenance.formats import FORMATS
from backend.web.error_codes import ErrorCode
from tests.documented import PROBLEM, document, listed_codes, operations
from tests.project.documents import inline_code, section, table_rows
from tests.project.test_docs import ANSWERS, ERRORS

WHY = "Why an attempt, a sample, a speech job or a recording failed, or waits"
OPEN = {
    "list_statements",
    "list_retention",
    "check_liveness",
    "check_readiness",
    "read_kept_manifest",
    "verify_audio",
}  # to anybody
ROUTES = pytest.mark.parametrize("route", operations().items(), ids=lambda route: route[1]["operationId"])
Route = tuple[tuple[str, str], dict[str, Any]]


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return document()["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema


@ROUTES
def test_a_route_is_described(route: Route) -> None:
    (method, path), operation = route
    assert operation["summary"]
    assert operation["description"]
    assert len(operation["tags"]) == 1
    assert operation["operationId"].replace("_", "").isalpha()
    assert (operation.get("security", []) == []) == (operation["operationId"] in OPEN)
    assert not path.startswith("/internal")
    if method in {"POST", "PATCH"} and "requestBody" in operation:
        for media_type, content in operation["requestBody"]["content"].items():
            assert resolve(content["schema"]).keys() & {"type", "oneOf"}
            assert "examples" in content or media_type != "application/json"


@ROUTES
def test_a_route_lists_its_answers_with_their_types(route: Route) -> None:
    (method, _), operation = route
    answers = operation["responses"]
    assert {"414", "500", "503"} <= set(answers)
    assert any(status.startswith("2") for status in answers)
    for status, answer in answers.items():
        assert answer["description"]
        if status in {"204", "304"}:
            assert not answer.get("content")
            continue
        for media_type, content in answer["content"].items():
            assert resolve(content["schema"]), (status, media_type)
        if status[0] in "45" and operation["operationId"] != "check_readiness":
            assert set(answer["content"]) == {PROBLEM}
            assert listed_codes(answer) <= set(ErrorCode)
            assert "examples" in answer["content"][PROBLEM]
        if status in {"429", "503"}:
            assert "Retry-After" in answer["headers"]
    if operation.get("security"):
        assert "401" in answers or operation["operationId"] in {"take_recording", "take_voice_notice"}
        assert "429" in answers
    if method == "POST":
        assert {"400", "408", "413", "422"} <= set(answers)


def test_no_two_routes_have_one_operation_id() -> None:
    ids = [operation["operationId"] for operation in operations().values()]
    assert len(ids) == len(set(ids)) > 50


def test_the_codes_are_those_of_the_table_of_errors() -> None:
    rows = {inline_code(cells[0])[0]: cells[1] for cells in table_rows(section(ERRORS, ANSWERS))}
    answered = {code: tuple(int(status) for status in text.split(", ")) for code, text in rows.items()}
    assert {code.value: code.statuses for code in ErrorCode if code.statuses} == answered
    others = {inline_code(cells[0])[0] for cells in table_rows(section(ERRORS, WHY))}
    assert {code.value for code in ErrorCode if not code.statuses} == others - set(answered)


def test_each_code_that_a_client_can_get_is_listed_by_a_route() -> None:
    listed = {
        code
        for operation in operations().values()
        for answer in operation["responses"].values()
        for code in listed_codes(answer)
    }
    unlisted = {code.value for code in ErrorCode if code.statuses} - listed
    assert unlisted == NOT_OF_A_PUBLIC_ROUTE


# Answered before there is a route, by internal routes or the Data API; or seen only in an attempt.
NOT_OF_A_PUBLIC_ROUTE = {
    "operator_required",
    *(
        "method_not_allowed",
        "throttled",
        "token_invalid",
        "stale_lease",
        "recording_missing",
        "recording_not_owned",
    ),
    *(
        "enrollment_has_voice",
        "enrollment_not_settled",
        "voice_superseded",
        "recording_replaced",
        "redirect_refused",
    ),
    *("last_admin", "too_many_organizations"),
}


def test_states_and_providers_are_enums() -> None:
    schemas = document()["components"]["schemas"]
    for name in (
        "CloneStatus",
        "MirroredStatus",
        "RuntimeStatus",
        "PreviewStatus",
        "Blocker",
        "Provider",
        "ErrorCode",
    ):
        assert len(schemas[name]["enum"]) > 3
    assert schemas["LaunchGate"]["properties"]["blockers"]["items"] == {
        "$ref": "#/components/schemas/Blocker"
    }
    assert schemas["Problem"]["properties"]["code"] == {"$ref": "#/components/schemas/ErrorCode"}
    assert schemas["ReflectionVoice"]["properties"]["voice"] == {"$ref": "#/components/schemas/Mirror"}


def test_headers_bodies_and_answers_that_are_no_json_are_described() -> None:
    by_id = {operation["operationId"]: operation for operation in operations().values()}
    binary = {"type": "string", "format": "binary"}
    assert by_id["generate_speech"]["responses"]["200"]["content"] == {
        each.content_type: {"schema": binary} for each in FORMATS.values()
    }
    assert set(by_id["follow_attempt"]["responses"]["200"]["content"]) == {"text/event-stream"}
    form = by_id["clone_reflection_voice"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["sample"]["format"] == "binary"
    assert {"sample", "consent_id", "name", "language"} == set(form["required"])
    headers = {each["name"] for each in by_id["follow_attempt"]["parameters"] if each["in"] == "header"}
    assert headers == {"Last-Event-ID"}
    headers = {each["name"] for each in by_id["open_upload"]["parameters"] if each["in"] == "header"}
    assert headers == {"Idempotency-Key"}
    assert {"RateLimit", "RateLimit-Policy"} <= set(by_id["open_upload"]["responses"]["201"]["headers"])


def test_no_value_fits_two_branches_of_a_union() -> None:
    """An integer is a number as well, so `oneOf` both is never true of it."""

    def unions(part: Any) -> Iterator[list[Any]]:
        if isinstance(part, dict):
            if "oneOf" in part:
                yield [each.get("type") for each in part["oneOf"]]
            part = list(part.values())
        for each in part if isinstance(part, list) else ():
            yield from unions(each)

    found = list(unions(document()))
    assert found
    assert not [each for each in found if {"integer", "number"} <= set(map(str, each))]


@pytest.mark.parametrize("name", ["take_recording", "take_voice_notice"])
def test_a_route_that_the_settings_leave_out_says_that_it_may_not_be_there(name: str) -> None:
    by_id = {each["operationId"]: each for each in operations().values()}
    assert "route_not_found" in listed_codes(by_id[name]["responses"]["404"])
