"""OpenTelemetry traces: spans of requests, steps and calls, and how a message carries its trace.

Off without the standard OTEL_EXPORTER_OTLP_ENDPOINT: nothing of OpenTelemetry is imported then. A span has
ids, codes and times; never a label of a provider, a user, a name, a text or an address.

docs/decisions/0093-traces.md
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]")
LINK = "link:"  # before the traceparent of a message whose handling begins a trace of its own
SECONDS_TO_CONTINUE = 3600.0  # an older message begins a trace too
MOST_LINKS = 32

_tracer: Any = None
_provider: Any = None
_only_linked: ContextVar[bool] = ContextVar("only_linked", default=False)


class Span:
    """What a caller may say about a span. Without a tracer it says nothing."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def set(self, **attributes: str | int | float | None) -> None:
        if self._span is not None:
            for name, value in attributes.items():
                if value is not None:
                    self._span.set_attribute(f"likeness.{name}", value)

    def rename(self, name: str) -> None:
        if self._span is not None:
            self._span.update_name(name)

    def fail(self, reason: str) -> None:
        """`reason` is a code or the name of a type: messages may quote a URL."""
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, reason))


NO_SPAN = Span()


def configure_traces(process: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Of this process, once. Why there are none although they are asked for, or None."""
    global _tracer, _provider
    asked = any(environ.get(name) for name in ENDPOINTS)
    if _tracer is not None or not asked or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        return "the extra `traces` is not installed"
    name = environ.get("OTEL_SERVICE_NAME") or process
    _provider = TracerProvider(resource=Resource.create({"service.name": name}))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("likeness")
    return None


def end_traces() -> None:
    """Sends what was not sent yet. Blocks for some seconds where the collector is away."""
    global _tracer, _provider
    provider, _tracer, _provider = _provider, None, None
    if provider is not None:
        provider.shutdown()


def is_traced() -> bool:
    return _tracer is not None


def read_traceparent(text: str | None) -> str | None:
    """Well-formed, or None. Of version 00 alone, whose length is fixed."""
    return text if text and TRACEPARENT.fullmatch(text) else None


@contextmanager
def span(
    name: str,
    kind: str = "INTERNAL",
    *,
    parent: str | None = None,
    links: Sequence[str] = (),
    **attributes: Any,
) -> Iterator[Span]:
    """Under the current span, or under that of `parent`. This and the links are traceparents."""
    if _tracer is None:
        yield NO_SPAN
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation import tracecontext

    def remote(traceparent: str) -> Any:
        return tracecontext.TraceContextTextMapPropagator().extract({"traceparent": traceparent})

    linked = [
        trace.Link(trace.get_current_span(remote(each)).get_span_context()) for each in links[:MOST_LINKS]
    ]
    context = remote(parent) if parent else None
    with _tracer.start_as_current_span(
        name,
        context=context,
        kind=trace.SpanKind[kind],
        links=linked,
        record_exception=False,  # its message may quote a URL
        set_status_on_exception=False,
    ) as current:
        made = Span(current)
        made.set(**attributes)
        try:
            yield made
        except BaseException as error:
            made.fail(getattr(error, "code", None) or type(error).__name__)
            raise


def note(**attributes: str | int | float | None) -> None:
    """About the current span."""
    if _tracer is not None:
        from opentelemetry import trace

        Span(trace.get_current_span()).set(**attributes)


def current_traceparent() -> str | None:
    if _tracer is None:
        return None
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 1:02x}"


def message_traceparent() -> str | None:
    """What a message that is sent now carries."""
    current = current_traceparent()
    return f"{LINK}{current}" if current and _only_linked.get() else current


@contextmanager
def only_linked() -> Iterator[None]:
    """Messages that are sent meanwhile begin traces of their own, with a link to here."""
    token = _only_linked.set(True)
    try:
        yield
    finally:
        _only_linked.reset(token)


@contextmanager
def handling(queue: str, message: Any, tries: int) -> Iterator[Span]:
    """In the trace of what sent the message, also in a later try; or in one of its own, with a link."""
    if _tracer is None:
        yield NO_SPAN
        return
    sent: datetime = message.enqueued_at
    waited = max(0.0, (datetime.now(sent.tzinfo) - sent).total_seconds())
    given = message.traceparent or ""
    traceparent = read_traceparent(given.removeprefix(LINK))
    continues = traceparent is not None and given == traceparent and waited < SECONDS_TO_CONTINUE
    links = [] if continues or not traceparent else [traceparent]
    about = {"id": str(message.id), "queue": queue, "tries": tries, "queue_wait_seconds": round(waited, 3)}
    if not continues:
        with span(f"{queue} handle", "CONSUMER", links=links, **about) as current:
            yield current
        return
    with span(f"{queue} handle", "CONSUMER", parent=traceparent, **about) as current:
        yield current
