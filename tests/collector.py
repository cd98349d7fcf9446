"""A collector of OpenTelemetry traces: an OTLP endpoint over HTTP, read with the official messages."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.serving import serving


class Seen(Struct, frozen=True):
    """One span."""

    process: str
    name: str
    trace: str
    id: str
    parent: str
    links: list[str]  # their trace ids
    attributes: dict[str, Any]
    start: int  # nanoseconds
    end: int
    failed: str


class Collector:
    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self._came = asyncio.Condition()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        message = ExportTraceServiceRequest.FromString(await request.read())
        for resource in message.resource_spans:
            (process,) = [
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            ]
            self.spans += [seen(process, each) for scope in resource.scope_spans for each in scope.spans]
        async with self._came:
            self._came.notify_all()
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )

    async def until(self, wanted: Callable[[Seen], bool]) -> Seen:
        """The first span that is wanted, once it came."""
        try:
            async with asyncio.timeout(60), self._came:
                while not (found := [each for each in self.spans if wanted(each)]):
                    await self._came.wait()
        except TimeoutError as error:
            raise AssertionError(f"this span did not come; what came:\n{drawn(self.spans)}") from error
        return found[0]

    def settings(self) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}


def seen(process: str, span: Any) -> Seen:
    return Seen(
        process,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        [link.trace_id.hex() for link in span.links],
        {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes},
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.message,
    )


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    async with serving([web.post("/v1/traces", collector.take)]) as collector.url:
        yield collector


def drawn(spans: list[Seen]) -> str:
    """A trace as a tree, with milliseconds since its begin."""
    begin = min(each.start for each in spans)
    known = {each.id for each in spans}
    lines: list[str] = []

    def draw(span: Seen, depth: int) -> None:
        shown = {name.removeprefix("likeness."): value for name, value in span.attributes.items()}
        details = " ".join(f"{name}={value}" for name, value in sorted(shown.items()))
        at, took = (span.start - begin) / 1e6, (span.end - span.start) / 1e6
        name = f"{'  ' * depth}{span.name}"
        lines.append(f"{at:8.1f} {took:8.1f}  {name:<44} {span.process:<19} {details}".rstrip())
        for child in sorted((each for each in spans if each.parent == span.id), key=lambda each: each.start):
            draw(child, depth + 1)

    for root in sorted((each for each in spans if each.parent not in known), key=lambda each: each.start):
        draw(root, 0)
    return "\n".join(lines) + "\n"
