"""The counters and histograms of a process. No label has a value that a client can choose, or an id.

With several workers each writes its numbers to files of MULTIPROCESS_DIR, and a scrape sums them, whichever
worker answers it. The directory must be set before this module is imported.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from backend.telemetry import MULTIPROCESS_DIR

CONTENT_TYPE = "text/plain; version=0.0.4"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)

registry = CollectorRegistry()

REQUESTS = Counter(
    name="likeness_http_requests",
    documentation="Requests that were answered.",
    labelnames=("method", "route", "status"),
    registry=registry,
)
REQUEST_SECONDS = Histogram(
    name="likeness_http_request_seconds",
    documentation="From the head of a request to the end of its answer. An event stream lasts while it is"
    " open.",
    labelnames=("route",),
    buckets=SECONDS,
    registry=registry,
)
REFUSALS = Counter(
    name="likeness_refusals",
    documentation="Requests that were refused or failed, by error code.",
    labelnames=("code",),
    registry=registry,
)
PROVIDER_CALLS = Counter(
    name="likeness_provider_calls",
    documentation="Calls to voice providers. create: a call that may leave a voice behind. The outcome is the"
    " class of the status, or unavailable or unknown where no answer came.",
    labelnames=("provider", "operation", "outcome"),
    registry=registry,
)
PROVIDER_SECONDS = Histogram(
    name="likeness_provider_call_seconds",
    documentation="How long these calls took.",
    labelnames=("provider", "operation"),
    buckets=SECONDS,
    registry=registry,
)
CANARIES = Counter(
    name="likeness_canaries",
    documentation="Voices that were made to speak after a long silence: spoken, refused, or not_tried where"
    " the provider failed for another reason.",
    labelnames=("provider", "outcome"),
    registry=registry,
)
MESSAGES = Counter(
    name="likeness_messages",
    documentation="Messages of queues by what became of them: done, cancelled, snoozed, retried, waiting (for"
    " what is away), or dead.",
    labelnames=("queue", "outcome"),
    registry=registry,
)
PICKUP_SECONDS = Histogram(
    name="likeness_message_pickup_seconds",
    documentation="From sending a message to its first read, an intended delay included.",
    labelnames=("queue",),
    buckets=WAITS,
    registry=registry,
)
LEASES_LOST = Counter(
    name="likeness_leases_lost",
    documentation="Steps whose result was not written, as another worker had the lease.",
    registry=registry,
)
SWEPT = Counter(
    name="likeness_swept",
    documentation="What the sweep moved on, by what was done.",
    labelnames=("what",),
    registry=registry,
)


def count_request(method: str, route: str | None, status: int | None, seconds: float) -> None:
    """`route` is the template of the path; None where there is no such route, or the request is malformed."""
    named = route or "none"
    known = method if method in METHODS else "other"
    REQUESTS.labels(known, named, str(status or "interrupted")).inc()
    REQUEST_SECONDS.labels(named).observe(seconds)


def exposition() -> bytes:
    """In Prometheus's text format: of this process, or of all workers."""
    if not os.environ.get(MULTIPROCESS_DIR):
        return generate_latest(registry)
    summed = CollectorRegistry()
    MultiProcessCollector(summed)
    return generate_latest(summed)
