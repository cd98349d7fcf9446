"""Logs: one line for each event, as JSON or coloured text, with the request's id and without secrets."""

import logging
import re
import sys
import time
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

import msgspec
import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.stdlib.get_logger("likeness")
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

REDACTED = "[redacted]"
SECRET_NAME = re.compile(r"token|secret|password|authorization|cookie|signature|api_?key", re.IGNORECASE)
SECRET_TEXT = re.compile(
    r"eyJ[\w-]{5,}\.[\w-]+\.[\w-]*"  # a JWT
    r"|\b(?:sk|sb_secret|sb_publishable|xi)[-_][\w-]{8,}"  # keys of vendors and of Supabase
    r"|(?<=earer )[\w.~+/-]{8,}=*"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"  # user:password of a URL
    r"|(?<=[?&])(?:[\w-]*(?:token|signature|credential|key)|expires|sig)=[^\s&\"'\\]+",  # of a signed URL
    re.IGNORECASE,
)
ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
QUIET = ("aiohttp", "psycopg.pool", "_granian")

EventDict = MutableMapping[str, Any]


def configure_logging(level: str = "info", format: str = "json") -> None:  # noqa: A002 - as the setting
    """Send our log and the libraries' to stderr. `format` is json or console."""
    console = format == "console"
    shared = [
        structlog.contextvars.merge_contextvars,
        add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact_names,
    ]
    render = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(to_json)
    structlog.configure(
        processors=[*shared, render, redact_text],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:2], structlog.stdlib.add_logger_name, *shared[2:]],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render, redact_text],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:  # at info they log the URL of each request, and each checkout of a connection
        logging.getLogger(name).setLevel(logging.WARNING)


def to_json(event: EventDict, **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


def add_request_id(_: object, __: str, event: EventDict) -> EventDict:
    if identity := request_id.get():
        event["request_id"] = identity
    return event


def redact_names(_: object, __: str, event: EventDict) -> EventDict:
    for name in event:
        if SECRET_NAME.search(name):
            event[name] = REDACTED
    return event


def redact_text(_: object, __: str, line: Any) -> str:
    """Works on the rendered line, so that nested values and tracebacks are covered as well."""
    return SECRET_TEXT.sub(REDACTED, line)


class RequestLog:
    """Wraps the whole application: each request gets an id, returned in a header, and one line of the log.

    The line has the route's template, never the path, which may contain personal data.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity = incoming_id(scope) or uuid4().hex
        identity_header = (b"x-request-id", identity.encode())
        restore = request_id.set(identity)
        started = time.perf_counter()
        status = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], identity_header]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("response_interrupted")
            raise
        finally:
            milliseconds = round((time.perf_counter() - started) * 1000, 2)
            log.info(
                "request",
                method=scope["method"],
                route=scope.get("path_template"),
                status=status,
                ms=milliseconds,
                **scope["state"].get("log", {}),
            )
            request_id.reset(restore)


def incoming_id(scope: Scope) -> str | None:
    """The client's own id, if it has an acceptable form."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and ACCEPTABLE_ID.fullmatch(value):
            return value.decode()
    return None
