"""Every error response is problem+json: a stable code, what would help, and nothing internal."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest

from scripts.local.supabase.ports import free_port
from scripts.local.supabase.postgres import Cluster
from tests.backend.conftest import INTERNAL_TOKEN, Served, served
from tests.backend.faults import PASSWORD, SECRET, kinds

# A client may rely on each: a code is never reused, and its status never changes.
CODES = {
    "AppError": (500, "internal_error"),
    "MalformedBody": (400, "malformed_body"),
    "InvalidFormat": (400, "invalid_format"),
    "InvalidCursor": (400, "invalid_cursor"),
    "Unauthenticated": (401, "token_invalid"),
    "UserGone": (401, "user_gone"),
    "Forbidden": (403, "admin_required"),
    "SignatureRefused": (403, "signature_refused"),
    "NotFound": (404, "not_found"),
    "RecordingMissing": (404, "recording_not_found"),
    "RouteNotFound": (404, "route_not_found"),
    "RequestTimeout": (408, "request_timeout"),
    "Conflict": (409, "conflict"),
    "InspectionInProgress": (409, "inspection_in_progress"),
    "IllegalTransition": (409, "illegal_transition"),
    "StaleLease": (409, "stale_lease"),
    "LaunchBlocked": (409, "launch_blocked"),
    "AddressTooLong": (414, "address_too_long"),
    "UnsupportedMediaType": (415, "unsupported_media_type"),
    "MethodNotAllowed": (405, "method_not_allowed"),
    "TooLarge": (413, "body_too_large"),
    "SampleTooLarge": (413, "sample_too_large"),
    "InvalidInput": (422, "invalid_input"),
    "AddressRefused": (422, "address_refused"),
    "Redirected": (422, "redirect_refused"),
    "RecordingRefused": (422, "recording_refused"),
    "SampleRefused": (422, "sample_refused"),
    "ConsentRequired": (422, "consent_required"),
    "Throttled": (429, "throttled"),
    "ProviderRejected": (502, "provider_rejected"),
    "InferenceFailed": (502, "inference_failed"),
    "StorageRefused": (502, "storage_refused"),
    "Unavailable": (503, "unavailable"),
    "ProviderUnavailable": (503, "provider_unavailable"),
    "DatabaseUnavailable": (503, "database_unavailable"),
    "DatabaseFailed": (503, "database_failed"),
    "StorageUnavailable": (503, "storage_unavailable"),
    "InspectionUnavailable": (503, "inspection_unavailable"),
    "TwilioUnavailable": (503, "twilio_unavailable"),
    "KeysUnavailable": (503, "keys_unavailable"),
    "MarkingUnavailable": (503, "marking_unavailable"),
    "VerificationUnavailable": (503, "verification_unavailable"),
}
ROUTER_ERROR = "RouterError"  # it has the status of what it wraps


@pytest.fixture(scope="module")
async def service(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """With a database, which no test here changes."""
    logs = tmp_path_factory.mktemp("problems")
    async with served(logs, cluster.dsn("voice_clone_service")) as running:
        yield running


def problem(answer: httpx.Response) -> tuple[dict[str, Any], tuple[int, str]]:
    """The body, and (status, code), after the checks that every problem must pass."""
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    for internal in (SECRET, PASSWORD, INTERNAL_TOKEN, "Traceback", ".py", "psycopg", "sqlstate"):
        assert internal not in answer.text
    return body, (answer.status_code, body["code"])


def test_every_error_has_its_place_in_this_table() -> None:
    assert {kind.__name__ for kind in kinds() if kind.__module__.startswith("backend")} == {
        *CODES,
        ROUTER_ERROR,
    }


def test_no_two_errors_share_a_code() -> None:
    codes = [code for _, code in CODES.values()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("name", CODES)
async def test_an_error_of_ours_keeps_its_status_and_code(service: Served, name: str) -> None:
    answer = await service.http.get(f"/faults/errors/{name}")
    body, result = problem(answer)
    assert result == CODES[name]
    if name != "StorageRefused":  # which says nothing but that it was refused
        assert (body["field"], body["help"], body["least"]) == ("sample", "Try another.", 3)
    if result[0] == 503:
        assert int(answer.headers["retry-after"]) >= 1


async def test_a_refused_token_says_how_to_authenticate(service: Served) -> None:
    refused = await service.http.get("/faults/errors/Unauthenticated")
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    missing = await service.http.get("/api/voices")
    assert problem(missing)[1] == (401, "token_missing")
    assert missing.headers["www-authenticate"] == 'Bearer realm="likeness"'


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("rejected", (422, "told_by_us")),
        ("throttled", (503, "provider_unavailable")),
        ("unavailable", (503, "provider_unavailable")),
        ("unknown", (503, "provider_unavailable")),
        ("full", (502, "provider_rejected")),
        ("misconfigured", (502, "provider_rejected")),
    ],
)
async def test_a_providers_failure_is_told_in_our_words(
    service: Served, kind: str, expected: tuple[int, str]
) -> None:
    answer = await service.http.get(f"/faults/providers/{kind}")
    body, result = problem(answer)
    assert result == expected
    assert body["detail"] == "The provider could not do it."
    assert (body["provider"], body["reason"]) == ("qwen", "told_by_us")
    assert body["provider_request_id"] == "provider-request-1"
    if kind == "throttled":
        assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nowhere", (404, "route_not_found")),
        ("GET", "/faults/pages/x?size=1", (404, "route_not_found")),
        ("DELETE", "/faults/orders", (405, "method_not_allowed")),
    ],
)
async def test_what_the_router_refuses_is_a_problem_too(
    service: Served, method: str, path: str, expected: tuple[int, str]
) -> None:
    answer = await service.http.request(method, path)
    assert problem(answer)[1] == expected
    if expected[0] == 405:
        assert set(answer.headers["allow"].split(", ")) == {"OPTIONS", "POST"}


async def test_a_body_over_the_limit_is_refused(service: Served) -> None:
    answer = await service.http.post(
        "/faults/orders",
        content=b'{"count": 1, "pad": "' + b"x" * 200_000,
        headers={"connection": "close"},  # the server closes it, for it has not read all
    )
    assert problem(answer)[1] == (413, "body_too_large")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b'{"count": 1,}', b'{"\xff": 1}', b'{"count": "\xff"}', b"[" * 60_000],
)
async def test_a_body_that_is_no_json_is_malformed(service: Served, content: bytes) -> None:
    answer = await service.http.post(
        "/faults/orders", content=content, headers={"content-type": "application/json"}
    )
    assert problem(answer)[1] == (400, "malformed_body")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"count": "many", "owner": {"name": "Ada"}}, "count"),
        ({"count": 1, "owner": {"name": 7}}, "owner.name"),
        ({"count": 1, "owner": {}}, "owner.name"),
        ({"count": 1}, "owner"),
        ({"count": 1, "owner": {"name": "Ada"}, "surprise": True}, "surprise"),
    ],
)
async def test_invalid_input_names_the_field(service: Served, body: object, field: str) -> None:
    body, result = problem(await service.http.post("/faults/orders", json=body))
    assert result == (422, "invalid_input")
    assert body["field"] == field
    assert body["errors"][0]["field"] == field


async def test_a_body_of_another_shape_blames_no_field(service: Served) -> None:
    body, result = problem(await service.http.post("/faults/orders", json=[1]))
    assert result == (422, "invalid_input")
    assert "field" not in body
    assert "array" in body["detail"]


@pytest.mark.parametrize("query", ["", "?size=", "?size=large"])
async def test_an_invalid_parameter_is_named(service: Served, query: str) -> None:
    body, result = problem(await service.http.get(f"/faults/pages/1{query}"))
    assert (result, body["field"]) == ((422, "invalid_input"), "size")


@pytest.mark.parametrize("path", ["/faults/crash", "/faults/unspeakable"])
async def test_a_fault_of_ours_says_nothing_and_is_logged_with_its_stack(service: Served, path: str) -> None:
    answer = await service.http.get(path, headers={"x-request-id": f"crashing-{len(path)}"})
    body, result = problem(answer)
    assert result == (500, "internal_error")
    assert set(body) == {"title", "status", "code", "detail", "request_id"}
    logged = await service.log(body["request_id"])
    assert any("Traceback" in str(line.get("exception")) for line in logged)
    assert logged[-1]["status"] == 500
    assert SECRET not in str(logged)
    assert PASSWORD not in str(logged)


async def test_what_an_error_says_internally_reaches_the_log_without_its_secret(service: Served) -> None:
    answer = await service.http.get("/faults/errors/ProviderRejected")
    logged = await service.log(answer.headers["x-request-id"])
    assert any("sent with [redacted]" in str(line.get("internal")) for line in logged)
    assert SECRET not in service.child.output()


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("VC001", (409, "illegal_transition")),
        ("VC002", (409, "stale_lease")),
        ("VC003", (422, "consent_required")),
        ("VC004", (404, "not_found")),
        ("VC005", (409, "launch_blocked")),
        ("VC006", (422, "invalid_input")),
        ("VC007", (409, "conflict")),
        ("VC008", (429, "throttled")),
    ],
)
async def test_a_refusal_by_the_database_is_told_in_its_words(
    service: Served, statement: str, expected: tuple[int, str]
) -> None:
    answer = await service.http.get(f"/faults/sql/{statement}")
    body, result = problem(answer)
    assert result == expected
    assert (body["detail"], body["help"]) == ("Not like this.", "Look again.")
    assert answer.headers.get("retry-after") == ("9" if statement == "VC008" else None)


async def test_the_detail_of_a_refusal_refines_it(service: Served) -> None:
    body, result = problem(await service.http.get("/faults/sql/refined"))
    assert result == (409, "sample_in_use")
    assert (body["field"], body["help"], body["current_status"]) == ("sample_id", "Wait.", "queued")


@pytest.mark.parametrize("statement", ["deadlock", "shutdown"])
async def test_what_may_pass_by_itself_is_a_503(service: Served, statement: str) -> None:
    answer = await service.http.get(f"/faults/sql/{statement}")
    assert problem(answer)[1] == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("ours", (503, "database_failed")),
        ("XX000", (503, "database_failed")),
        ("23514", (409, "conflict")),
        ("22003", (422, "invalid_input")),
    ],
)
async def test_an_error_that_no_one_expected_is_answered_by_its_class_and_logged(
    service: Served, statement: str, expected: tuple[int, str]
) -> None:
    body, result = problem(await service.http.get(f"/faults/sql/{statement}"))
    assert result == expected
    logged = str(await service.log(body["request_id"]))
    assert ("no_such_table" if statement == "ours" else "Not like this.") in logged
    assert "Traceback" in logged


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("user_id", (401, "user_gone")),
        ("reflection_id", (404, "not_found")),
        ("reflection_id_user_id", (404, "not_found")),
        ("consent_id_user_id", (422, "consent_required")),
        ("other_id", (409, "conflict")),
    ],
)
async def test_a_row_that_is_gone_by_now_is_named_by_the_constraint(
    service: Served, column: str, expected: tuple[int, str]
) -> None:
    assert problem(await service.http.get(f"/faults/sql/{column}"))[1] == expected


async def test_an_error_repeats_no_long_text_of_the_client(service: Served) -> None:
    long = "x" * 30_000
    for body in ({"count": long}, {"count": 1, "owner": {"name": "Ada"}, long: True}, {long: long}):
        answer = await service.http.post("/faults/orders", json=body)
        assert problem(answer)[1] == (422, "invalid_input")
        assert len(answer.content) < 4000


async def test_a_request_has_the_callers_id_or_one_of_its_own(service: Served) -> None:
    given = await service.http.get("/nowhere", headers={"x-request-id": "the-callers-own"})
    assert problem(given)[0]["request_id"] == "the-callers-own"
    unfit = await service.http.get("/nowhere", headers={"x-request-id": "<script>"})
    assert len(problem(unfit)[0]["request_id"]) == 32


async def test_without_its_database_the_service_says_so_and_when_to_come_back(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    url = f"postgresql://voice_clone_service:{PASSWORD}@127.0.0.1:{free_port()}/postgres"
    async with served(tmp_path_factory.mktemp("down"), url) as running:
        answer = await running.http.get("/faults/sql/fine")
        assert problem(answer)[1] == (503, "database_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert PASSWORD not in running.child.output()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=1)
