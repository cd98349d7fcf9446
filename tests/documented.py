"""Answers against the OpenAPI document: each has a status, a content type and an error code that it lists."""

import json
import re
from functools import cache
from http import HTTPStatus
from typing import Any

import httpx
import msgspec

from backend.app.service import create_app
from backend.settings import load_settings
from backend.web.error_codes import ErrorCode

SETTINGS = {
    "DATABASE_URL": "postgresql://voice_clone_service:secret@127.0.0.1/postgres",
    "SUPABASE_URL": "https://project.supabase.co",
    "SUPABASE_SECRET_KEY": "sb_secret_0123456789",
    "INTERNAL_TOKEN": "t" * 32,
}
PROBLEM = "application/problem+json"
# Answered before a route is found, so no route lists them.
UNROUTED = {"method_not_allowed", "route_not_found"}
# Codes that enforce a limit, by what they are called and how they are answered.
OF_A_LIMIT = re.compile(r"^too_many_|_too_(long|large|short|low|quiet)$|_full$|budget_used$")
LIMITS = frozenset(
    code.value
    for code in ErrorCode
    if {413, 414, 429} & {*code.statuses} or (code.statuses and OF_A_LIMIT.search(code.value))
)
# A provider may refuse by a limit of its own, which is not known here.
ALSO_OF_PROVIDERS = {
    "text_too_long",
    "sample_too_large",
    "sample_too_long",
    "sample_too_short",
    "sample_rate_too_low",
}


@cache
def document() -> dict[str, Any]:
    app = create_app(load_settings(SETTINGS))
    return json.loads(msgspec.json.encode(app.openapi_schema.to_schema()))


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """By method and path."""
    return {
        (method.upper(), path): operation
        for path, item in document()["paths"].items()
        for method, operation in item.items()
    }


@cache
def patterns() -> list[tuple[str, re.Pattern[str], str]]:
    return [
        (method, re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))), path)
        for method, path in operations()
    ]


def listed_codes(response: dict[str, Any]) -> set[str]:
    return set(re.findall(r"`(\w+)`", response["description"]))


def template_of(method: str, path: str) -> str | None:
    """The path of the route in the document, if it has this one."""
    return next(
        (found for of, pattern, found in patterns() if of == method and pattern.fullmatch(path)), None
    )


def undocumented(method: str, path: str, status: int, media_type: str, code: str | None) -> str | None:
    """What the document does not say of this answer; None where it says everything, or has no such route."""
    template = template_of(method, path)
    if template is None or code in UNROUTED or status == HTTPStatus.NOT_MODIFIED:
        return None
    response = operations()[method, template]["responses"].get(str(status))
    where = f"{method} {template} answers {status}"
    if response is None:
        return f"{where} {code or ''}"
    content = response.get("content") or {}
    if (media_type or None) not in (content or {None}):
        return f"{where} {media_type}"
    if (
        media_type == PROBLEM
        and code not in listed_codes(response)
        and "or the code" not in response["description"]
    ):
        return f"{where} {code}"
    return None


async def require_documented(response: httpx.Response) -> None:
    """A hook of httpx."""
    media_type = response.headers.get("content-type", "").partition(";")[0]
    code = None
    if media_type == PROBLEM:
        await response.aread()
        code = response.json().get("code")
    request = response.request
    missing = undocumented(request.method, request.url.path, response.status_code, media_type, code)
    assert missing is None, missing
    # 502: what failed before, which is no limit of this call.
    if code in LIMITS - ALSO_OF_PROVIDERS and response.status_code != HTTPStatus.BAD_GATEWAY:
        told = isinstance(response.json().get("limit"), int | float)
        assert told or template_of(request.method, request.url.path) is None, f"{code} without its limit"


HOOKS = {"response": [require_documented]}
