"""Turns every exception that a route raises into application/problem+json.

Why not Litestar's plugin: docs/decisions/0020-libraries-tried.md.
"""

import re
from http import HTTPStatus
from typing import Any

import msgspec
import psycopg
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from backend.errors import (
    AppError,
    InvalidInput,
    MalformedBody,
    RouteNotFound,
    TooLarge,
    from_postgres,
    from_unexpected,
)
from backend.telemetry.measures import REFUSALS
from backend.web.logs import log, request_id
from backend.web.strict_input import in_words, limit_of

NAMED_FIELD = re.compile(r"field `(.+?)`")
MISSING_PARAMETER = re.compile(r"Missing required \w+ parameter '(.+?)'")
LONGEST_ECHO = 400  # characters
MOST_ECHOED = 100  # elements of a list
FORM_PARTS = 100  # of one form; no route reads as many
TOO_MANY_PARTS = "Request Entity Too Large"  # as Litestar's 400 says it
NO_BODY = "'data'"  # the whole message of Litestar for an absent body


class RouterError(AppError):
    """An error of the framework, such as a method that a route does not have."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        phrase = HTTPStatus(status).phrase
        super().__init__(f"{phrase}.", code=re.sub(r"\W+", "_", phrase.lower()))
        self.status = status
        self._headers = headers

    @property
    def headers(self) -> dict[str, str]:
        return self._headers


def answer_problem(request: Request[Any, Any, Any], exception: Exception) -> Response[bytes]:
    error = as_app_error(exception)
    if error.status >= 500 or isinstance(exception, psycopg.Error):
        is_expected = isinstance(exception, AppError | psycopg.OperationalError)
        log.error(
            "request_failed",
            message=error.message,
            code=error.code,
            internal=error.internal,
            exc_info=None if is_expected else exception,
        )
    request.scope["state"]["log"] = {"code": error.code}
    REFUSALS.labels(error.code).inc()
    return Response(
        msgspec.json.encode(problem(error)),
        status_code=error.status,
        headers=error.headers,
        media_type="application/problem+json",
    )


def problem(error: AppError) -> dict[str, Any]:
    """The body, without members that have no value."""
    body = {
        **error.extra,
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "field": error.field,
        "help": error.help,
        "request_id": request_id.get(),
    }
    return {name: shorten(value) for name, value in body.items() if value is not None}


def shorten(value: Any) -> Any:
    """No text of a client is repeated at length, wherever an error quotes it."""
    if isinstance(value, str) and len(value) > LONGEST_ECHO:
        return f"{value[:LONGEST_ECHO]}…"
    if isinstance(value, dict):
        return {name: shorten(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shorten(each) for each in value[:MOST_ECHOED]]
    return value


def as_app_error(exception: Exception) -> AppError:
    if isinstance(exception, psycopg.Error):
        exception = from_postgres(exception)
    if isinstance(exception, ValidationException):
        return from_validation(exception)
    if isinstance(exception, HTTPException):
        return from_framework(exception)
    if isinstance(exception, psycopg.Error):
        return from_unexpected(exception)
    return exception if isinstance(exception, AppError) else AppError()


def from_framework(exception: HTTPException) -> AppError:
    match exception.status_code:
        case 400 if exception.detail == TOO_MANY_PARTS:
            return TooLarge("The form has too many parts.", extra={"limit": FORM_PARTS})
        case 400:
            return MalformedBody(help=exception.detail)
        case 404:
            return RouteNotFound()
        case 500:
            return AppError()
        case status:
            return RouterError(status, dict(exception.headers or {}))


def from_validation(exception: ValidationException) -> AppError:
    """Litestar names the parameter, msgspec the path below it, and only its message a missing field."""
    errors = []
    for each in exception.extra if isinstance(exception.extra, list) else []:
        message = str(each.get("message", ""))
        if message == NO_BODY:
            return MalformedBody("The body is missing.")
        path = [part for part in str(each.get("key", "")).split(".") if part != "data"]
        if named := NAMED_FIELD.search(message):
            path.append(named[1])
        errors.append({"field": ".".join(path) or None, "message": in_words(message)})
    if not errors and (missing := MISSING_PARAMETER.match(exception.detail)):
        errors.append({"field": missing[1], "message": missing[0]})
    first = errors[0] if errors else {"field": None, "message": None}
    extra = {"errors": errors, **limit_of(first["message"])}
    return InvalidInput(first["message"], field=first["field"], extra=extra)
