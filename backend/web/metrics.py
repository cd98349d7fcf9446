"""What Prometheus scrapes: the numbers of this process, and those that the database knows."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from litestar import Response, get
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from msgspec import Struct
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

from backend.database.pool import Database
from backend.database.queries import load_queries
from backend.errors import AppError, RouteNotFound, Unauthenticated
from backend.telemetry.measures import CONTENT_TYPE, exposition
from backend.web.authentication import bearer_token
from backend.web.contract import NO_DATABASE

queries = load_queries(__file__)

FRESH_SECONDS = 5.0  # scrapes within it share one read of the database
READ_SECONDS = 2.0
UP = "Whether the database answered this scrape."
HELP = {
    "likeness_queue_messages": "Messages that are waiting or being handled.",
    "likeness_queue_oldest_seconds": "How long the oldest of them has been there.",
    "likeness_queue_deferred": "Messages that are sent later.",
    "likeness_queue_dead": "Dead letters.",
    "likeness_unfinished_attempts": "Attempts that await their upload, are queued or processing.",
    "likeness_transitions_recent": "Transitions of attempts in the last five minutes, by event.",
    "likeness_overdue_attempts": "Attempts that the sweep should have looked at more than a minute ago.",
    "likeness_mirrors_behind": "Reflections and employees whose mirror shows an older version.",
    "likeness_mirror_lag_seconds": "How long ago the oldest change is that a mirror does not show, or 0.",
    "likeness_job_slots": "Places for running jobs: all, taken, and jobs that wait for one.",
    "likeness_provider_slots": "Voices that an account may keep, and has.",
    "likeness_consumers": "Resident consumers that are alive.",
    "likeness_sweep_errors": "Rows that the sweep cannot process.",
    "likeness_open_erasures": "Erasures that are not confirmed in each place.",
    "likeness_open_erasure_oldest_seconds": "How long the oldest erasure has been open; 0 without one.",
    "likeness_consent_anchor_age_seconds": (
        "How long the oldest consent waits that no published anchor covers."
    ),
    "likeness_broken_consents": "Consents and anchors that are not as they were written.",
    "likeness_takedowns": "Takedown notices that are in force.",
    "likeness_voice_check_age_seconds": "How long ago the last complete round of checks of voices began.",
    "likeness_voice_checks_stopped": "Accounts whose last check of voices stopped, by the reason.",
    "likeness_silent_voices": (
        "Voices that did not speak when they were made to, or that their provider may delete as unused."
    ),
    "likeness_object_removals": "Folders of Storage that are to be emptied.",
}


class MetricSample(Struct, frozen=True):
    metric: str
    labels: dict[str, str]
    value: float


class DatabaseMetrics:
    """Read at a scrape, and by one scrape at a time."""

    def __init__(self, read: Callable[[], Awaitable[Sequence[MetricSample]]]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._samples: Sequence[MetricSample] = ()
        self._until = 0.0
        self._is_up = False

    async def exposition(self) -> bytes:
        async with self._lock:
            if time.monotonic() >= self._until:
                await self._refresh()
            return generate_latest(self._collected())

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                self._samples, self._is_up = await self._read(), True
        except (AppError, TimeoutError):
            self._samples, self._is_up = (), False
        self._until = time.monotonic() + FRESH_SECONDS

    def _collected(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        registry.register(_Families(self._samples, is_up=self._is_up))
        return registry


class _Families:
    def __init__(self, samples: Sequence[MetricSample], *, is_up: bool) -> None:
        self._samples = samples
        self._is_up = is_up

    def collect(self) -> list[GaugeMetricFamily]:
        up = GaugeMetricFamily(name="likeness_database_up", documentation=UP)
        up.add_metric((), float(self._is_up))
        families = {"": up}
        for each in self._samples:
            if each.metric not in families:
                families[each.metric] = GaugeMetricFamily(
                    each.metric, HELP[each.metric], labels=tuple(each.labels)
                )
            families[each.metric].add_metric(tuple(each.labels.values()), each.value)
        return list(families.values())


def database_metrics(database: Database) -> DatabaseMetrics:
    async def read() -> Sequence[MetricSample]:
        return await database.fetch_all(queries.metric_samples, {}, row=MetricSample)

    return DatabaseMetrics(read)


def require_metrics_token(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Without METRICS_TOKEN there is no such route: a proxy may make everybody look local."""
    expected = connection.app.state.settings.server.metrics_token
    if not expected:
        raise RouteNotFound
    limits = connection.app.state.limits
    limits.require_address(connection)
    if not hmac.compare_digest(bearer_token(connection).encode(), expected.encode()):
        limits.count_refusal(connection)
        raise Unauthenticated("The metrics token does not match.")


@get(
    "/metrics",
    guards=[require_metrics_token],
    media_type=CONTENT_TYPE,
    include_in_schema=False,
    opt={NO_DATABASE: True},
)
async def show_metrics(database_metrics: NamedDependency[DatabaseMetrics]) -> Response[bytes]:
    """Of all workers of the service; 200 also while the database is away."""
    text = exposition() + await database_metrics.exposition()
    return Response(text, media_type=CONTENT_TYPE)
