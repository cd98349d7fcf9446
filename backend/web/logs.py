"""Logs: one line for each event, as JSON or coloured text, with the request's id and without secrets."""

import logging
import re
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

import msgspec
import structlog

from backend.telemetry.traces import current_traceparent

log = structlog.stdlib.get_logger("likeness")
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

REDACTED = "[redacted]"
SECRET_NAME = re.compile(r"token|secret|password|authorization|cookie|signature|api_?key", re.IGNORECASE)
SECRET_TEXT = re.compile(
    r"(?-i:eyJ)[\w.-]{16,}"  # a JWT, or a part of one; no two matches begin in the same run of characters
    r"|\b(?:sk|sb_secret|sb_publishable|xi)[-_][\w-]{8,}"  # keys of vendors and of Supabase
    r"|(?<=earer )[\w.~+/-]{8,}=*"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"  # user:password of a URL
    r"|(?<=[?&])(?:[\w-]*(?:token|signature|credential|key)|expires|sig)=[^\s&\"'\\]+",  # of a signed URL
    re.IGNORECASE,
)
LONGEST_VALUE = 8192  # characters of one value, so that the search for secrets is bounded
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
POOL = logging.getLogger("psycopg.pool")  # it warns of each try to connect
POOL_SECONDS = 60.0
QUIET = ("aiohttp", "psycopg.pool", "_granian")

EventDict = MutableMapping[str, Any]


def configure_logging(level: str = "info", format: str = "json") -> None:  # noqa: A002 - as the setting
    """Send our log and the libraries' to stderr. `format` is json or console."""
    console = format == "console"
    shared = [
        structlog.contextvars.merge_contextvars,
        add_request_id,
        add_trace_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        bound_values,
        redact_names,
        *([escape_control] if console else []),
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
            foreign_pre_chain=[*shared[:3], structlog.stdlib.add_logger_name, *shared[3:]],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render, redact_text],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    POOL.addFilter(seldom)
    for name in QUIET:  # at info they log the URL of each request, and each checkout of a connection
        logging.getLogger(name).setLevel(logging.WARNING)


class Seldom(logging.Filter):
    """Lets a message through once in POOL_SECONDS, whatever its parameters are."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[str, float] = {}  # by template, of which the library has a few

    def filter(self, record: logging.LogRecord) -> bool:
        template = str(record.msg)
        if record.created - self._said_at.get(template, float("-inf")) < POOL_SECONDS:
            return False
        self._said_at[template] = record.created
        return True


seldom = Seldom()


def to_json(event: EventDict, **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


def add_request_id(_: object, __: str, event: EventDict) -> EventDict:
    if identity := request_id.get():
        event["request_id"] = identity
    return event


def add_trace_id(_: object, __: str, event: EventDict) -> EventDict:
    if traceparent := current_traceparent():
        event["trace_id"] = traceparent[3:35]
    return event


def redact_names(_: object, __: str, event: EventDict) -> EventDict:
    for name in event:
        if SECRET_NAME.search(name):
            event[name] = REDACTED
    return event


def bound_values(_: object, __: str, event: EventDict) -> EventDict:
    """A long text keeps its begin and its end: the last lines of a traceback name the error."""
    for name, value in event.items():
        if isinstance(value, bytes | bytearray):
            value = repr(bytes(value[:LONGEST_VALUE]))
        if isinstance(value, str) and len(value) > LONGEST_VALUE:
            event[name] = f"{value[: LONGEST_VALUE // 4]} … {value[-LONGEST_VALUE // 2 :]}"
    return event


def escape_control(_: object, __: str, event: EventDict) -> EventDict:
    """JSON escapes them by itself; a terminal would obey them. Line ends of tracebacks stay."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", value)
    return event


def redact_text(_: object, __: str, line: Any) -> str:
    """Works on the rendered line, so that nested values and tracebacks are covered as well."""
    return SECRET_TEXT.sub(REDACTED, line)
