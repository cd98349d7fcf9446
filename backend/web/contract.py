"""The OpenAPI document: what the signature of a route does not say.

Litestar derives parameters, bodies and results. From a route's guards, middleware and `opt`, this module adds
its security, its headers, each problem that it may answer, and a body that the route reads by itself.

docs/decisions/0060-the-openapi-document-is-complete.md
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    Example,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.plugins import ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute
from msgspec import Struct

from backend.web.authentication import require_user
from backend.web.error_codes import ErrorCode
from backend.web.idempotency import IDEMPOTENT

# In a route's `opt`:
CODES = "codes"  # the error codes that it answers, beside those that follow from its guards and its body
OF_ATTEMPT = "of_attempt"  # it answers 502 with the code of what failed before
BODY = "documented_body"  # of a route that reads its body by itself
EXAMPLE = "example"  # of its JSON body
SECURITY = "documented_security"  # of a route that authenticates its caller by itself
HEADERS = "documented_headers"  # that it reads by itself
MEDIA = "documented_media"  # the types of a binary answer
NO_DATABASE = "no_database"  # it answers while Postgres is down

BINARY = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
OR_OF_ATTEMPT = ", or the code of the error with which the attempt or the job failed"
READING = frozenset({"GET", "HEAD"})
PROBLEM_JSON = "application/problem+json"
USER = {"user": []}
AUTHENTICATION = [code for code in ErrorCode if 401 in code.statuses and code != ErrorCode.TOKEN_INVALID]
GUARDED = [*AUTHENTICATION, ErrorCode.RATE_LIMITED, ErrorCode.KEYS_UNAVAILABLE]
SENT = [
    ErrorCode.MALFORMED_BODY,
    ErrorCode.REQUEST_TIMEOUT,
    ErrorCode.BODY_TOO_LARGE,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.INVALID_INPUT,
]
KEYED = [
    ErrorCode.IDEMPOTENCY_KEY_IN_USE,
    ErrorCode.IDEMPOTENCY_KEY_REUSED,
    ErrorCode.IDEMPOTENCY_KEY_INVALID,
    ErrorCode.TOO_MANY_IDEMPOTENCY_KEYS,
]
DATABASE = [ErrorCode.DATABASE_UNAVAILABLE, ErrorCode.DATABASE_FAILED]
WRITES = [ErrorCode.CONFLICT, ErrorCode.INVALID_INPUT]  # a value that cannot be stored
ALWAYS = [ErrorCode.ADDRESS_TOO_LONG, ErrorCode.INTERNAL_ERROR, ErrorCode.UNAVAILABLE]


class FieldError(Struct, frozen=True, kw_only=True):
    """One fault of the body, or of a parameter."""

    field: str | None
    message: str


class Problem(Struct, frozen=True, kw_only=True):
    """RFC 9457. Branch on `code`. A problem may have members of its own beside these."""

    title: str
    status: int
    code: ErrorCode
    detail: str
    field: str | msgspec.UnsetType = msgspec.UNSET
    help: str | msgspec.UnsetType = msgspec.UNSET
    request_id: str | msgspec.UnsetType = msgspec.UNSET
    errors: list[FieldError] | msgspec.UnsetType = msgspec.UNSET
    limit: float | msgspec.UnsetType = msgspec.UNSET  # of an error that enforces one
    window_seconds: float | msgspec.UnsetType = msgspec.UNSET  # where the limit is of a time


class Contract(ReceiveRoutePlugin):
    """Completes each route of the document when it is registered."""

    def receive_route(self, route: BaseRoute) -> None:
        if not isinstance(route, HTTPRoute):
            return
        for handler in route.route_handlers:
            if handler.resolve_include_in_schema() and not handler.handler_name.startswith("_"):
                handler.responses = {**(handler.responses or {}), **problems(handler, route.path_parameters)}
                handler.operation_id = handler.handler_name
                handler.operation_class = partial(complete, handler)  # pyright: ignore[reportAttributeAccessIssue]


def problems(handler: HTTPRouteHandler, in_path: Collection[str]) -> dict[int, ResponseSpec]:
    """By status: the problems that the route may answer."""
    found: dict[int, list[ErrorCode]] = defaultdict(list)
    for code in route_codes(handler, in_path):
        for status in code.statuses:
            found[status].append(code)
    known = handler.responses or {}
    specs = {status: problem_spec(status, codes) for status, codes in found.items() if status not in known}
    if handler.opt.get(OF_ATTEMPT):
        specs[502] = problem_spec(502, [*found[502], ErrorCode.PROVIDER_REJECTED], OR_OF_ATTEMPT)
    return dict(sorted(specs.items()))


def problem_spec(status: int, codes: Sequence[ErrorCode], more: str = "") -> ResponseSpec:
    phrase = HTTPStatus(status).phrase
    example = Example(
        value={
            "title": phrase,
            "status": status,
            "code": codes[0].value,
            "detail": f"{codes[0].value.replace('_', ' ').capitalize()}.",
            "request_id": "0c2f7a1e5b6d4c3f8a9b0c1d2e3f4a5b",
        }
    )
    return ResponseSpec(
        Problem,
        description=f"{phrase}: {', '.join(f'`{code.value}`' for code in sorted(set(codes)))}{more}.",
        media_type=PROBLEM_JSON,
        generate_examples=False,
        examples=[example],
    )


def route_codes(handler: HTTPRouteHandler, in_path: Collection[str]) -> Iterable[ErrorCode]:
    yield from ALWAYS
    yield from handler.opt.get(CODES, ())
    if is_guarded(handler):
        yield from GUARDED
    if not handler.opt.get(NO_DATABASE):
        yield from DATABASE if handler.http_methods <= READING else [*DATABASE, *WRITES]
    if handler.http_methods & {"POST", "PATCH"}:
        yield from SENT
    elif handler.opt.get(HEADERS) or has_query(handler, in_path):
        yield ErrorCode.INVALID_INPUT
    if is_idempotent(handler):
        yield from KEYED
    if has_pages(handler):
        yield ErrorCode.INVALID_CURSOR
    if in_path:
        yield ErrorCode.ROUTE_NOT_FOUND


def has_query(handler: HTTPRouteHandler, in_path: Collection[str]) -> bool:
    injected = {"self", "data", "request", *handler.resolve_dependencies(), *in_path}
    return any(name not in injected for name in handler.parsed_fn_signature.parameters)


def has_pages(handler: HTTPRouteHandler) -> bool:
    return "cursor" in handler.parsed_fn_signature.parameters


def is_guarded(handler: HTTPRouteHandler) -> bool:
    return require_user in handler.resolve_guards()


def is_idempotent(handler: HTTPRouteHandler) -> bool:
    return IDEMPOTENT[0] in handler.resolve_middleware()


def complete(handler: HTTPRouteHandler, **given: Any) -> Operation:
    """What Litestar knows of the route, with the rest."""
    operation = Operation(**given)
    operation.summary = handler.handler_name.replace("_", " ").capitalize()
    operation.security = [USER] if is_guarded(handler) else handler.opt.get(SECURITY, [])
    operation.parameters = [*(operation.parameters or ()), *header_parameters(handler)] or None
    operation.request_body = handler.opt.get(BODY, operation.request_body)
    if operation.responses and HTTPStatus.BAD_REQUEST not in (handler.responses or ()):
        operation.responses.pop("400", None)  # the framework's own; this service answers 404 or 422
    if isinstance(operation.request_body, RequestBody):
        complete_body(handler, operation.request_body)
    for status, response in (operation.responses or {}).items():
        if isinstance(response, OpenAPIResponse):
            complete_response(handler, HTTPStatus(int(status)), response)
    return operation


def complete_response(handler: HTTPRouteHandler, status: HTTPStatus, response: OpenAPIResponse) -> None:
    if status == handler.status_code and MEDIA in handler.opt:
        response.content = {each: OpenAPIMediaType(schema=BINARY) for each in handler.opt[MEDIA]}
    if response.description == status.description:  # the framework's default, a sentence of no use
        response.description = status.phrase
    response.headers = {**(response.headers or {}), **response_headers(handler, status)}


def complete_body(handler: HTTPRouteHandler, body: RequestBody) -> None:
    """A body whose parameter has a default may be left out."""
    data = handler.parsed_fn_signature.parameters.get("data")
    if data is not None and data.has_default:
        body.required = False
    content = body.content.get("application/json")
    if content is not None and EXAMPLE in handler.opt:
        content.examples = {"example": Example(value=handler.opt[EXAMPLE])}


def header_parameters(handler: HTTPRouteHandler) -> list[Parameter]:
    key = (
        [
            header(
                "Idempotency-Key",
                "The same call with the same key gets the same answer, and creates nothing twice.",
                max_length=255,
            )
        ]
        if is_idempotent(handler)
        else []
    )
    return [*key, *handler.opt.get(HEADERS, ())]


def header(name: str, description: str, *, required: bool = False, **schema: Any) -> Parameter:
    return Parameter(
        name=name,
        param_in="header",
        required=required,
        description=description,
        schema=Schema(type=OpenAPIType.STRING, **schema),
    )


def response_headers(handler: HTTPRouteHandler, status: int) -> dict[str, OpenAPIHeader | Reference]:
    said = ["X-Request-Id"]
    if is_guarded(handler) and status != HTTPStatus.UNAUTHORIZED:
        said += ["RateLimit-Policy", "RateLimit"]
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.CONFLICT}:
        said.append("Retry-After")
    if is_idempotent(handler):
        said.append("Idempotency-Replayed")
    if has_pages(handler) and status == handler.status_code:
        said.append("Next-Cursor")
    if status == HTTPStatus.UNAUTHORIZED:
        said.append("WWW-Authenticate")
    return {name: Reference(f"#/components/headers/{name}") for name in said}


def answered(description: str, kind: OpenAPIType = OpenAPIType.STRING) -> OpenAPIHeader:
    return OpenAPIHeader(schema=Schema(type=kind), description=description)


ANSWERED: dict[str, OpenAPIHeader | Reference] = {
    "X-Request-Id": answered("Quote it to report a fault."),
    "RateLimit-Policy": answered('The limit: `"name";q=number;w=seconds`.'),
    "RateLimit": answered('What is left of it: `"name";r=number;t=seconds`.'),
    "Retry-After": answered("Seconds after which the same call may succeed.", OpenAPIType.INTEGER),
    "Next-Cursor": answered("Send it as `cursor` to get the next page. Missing on the last page."),
    "Idempotency-Replayed": answered("`true`: the answer of an earlier call with this key."),
    "WWW-Authenticate": answered("`Bearer`, and why the token was refused."),
}


# -- bodies that a route reads by itself


def form_body(
    fields: type[Struct], file: str, description: str, *, or_json: type[Struct] | None = None
) -> RequestBody:
    """Multipart: a file, and the fields beside it."""
    schema = inline_schema(fields)
    schema["properties"] = {
        file: {"type": "string", "format": "binary", "description": description},
        **schema["properties"],
    }
    schema["required"] = [file, *schema.get("required", ())]
    other = {"application/json": inline_schema(or_json)} if or_json else {}
    return body_of({"multipart/form-data": schema, **other})


def json_body(kind: type[Struct], *, required: bool = True) -> RequestBody:
    return body_of({"application/json": inline_schema(kind)}, required=required)


def file_body(description: str) -> RequestBody:
    return body_of({
        "application/octet-stream": {"type": "string", "format": "binary", "description": description}
    })  # fmt: skip


def body_of(schemas: Mapping[str, Any], *, required: bool = True) -> RequestBody:
    return RequestBody(
        content={media_type: OpenAPIMediaType(schema=schema) for media_type, schema in schemas.items()},
        required=required,
    )


def inline_schema(kind: type[Struct]) -> dict[str, Any]:
    """Its properties in place; an enum that it names is a component that other routes name too."""
    _, components = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    return dict(components[kind.__name__])
