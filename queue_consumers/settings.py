"""Settings of the consumers, read from environment variables; every fault is reported at once."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from backend.app.queues import LifecycleQueue
from backend.settings.database import DatabaseSettings
from backend.settings.enrollments import EnrollmentSettings
from backend.settings.queues import QueueSettings
from backend.settings.sections import (
    Count,
    Seconds,
    Section,
    SettingsError,
    derive,
    read_section,
    url_problems,
)
from backend.settings.server import Port, own_url

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class ServiceSettings(Section, frozen=True, kw_only=True):
    """How to reach the service; only the queues whose steps it does need this."""

    url: str = field(name="SERVICE_URL", default="")  # by default that of a service on this machine
    host: str = field(name="HOST", default="127.0.0.1")
    port: Port = field(name="PORT", default=8000)
    internal_token: str = field(name="INTERNAL_TOKEN")

    def __post_init__(self) -> None:
        derive(self, url=self.url.rstrip("/") or own_url(self.host, self.port))

    def problems(self) -> Iterator[str]:
        yield from url_problems("SERVICE_URL", self.url)


class ConsumerSettings(QueueSettings, frozen=True, kw_only=True):
    max_jobs: Count = field(
        name="MAX_JOBS", default=50
    )  # at once, over all queues whose steps the service does
    poll_seconds: Seconds = field(name="POLL_SECONDS", default=5.0)
    # between two sweeps; 0 leaves the sweep to another timer, such as pg_cron's
    sweep_seconds: Annotated[float, Meta(ge=0)] = field(name="SWEEP_SECONDS", default=1.0)
    grace_seconds: Seconds = field(name="GRACE_SECONDS", default=25.0)
    # of /metrics and /health of this process; 0 is none. The token is asked for where it is set.
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = field(name="METRICS_PORT", default=0)
    metrics_host: str = field(name="METRICS_HOST", default="127.0.0.1")
    metrics_token: str = field(name="METRICS_TOKEN", default="")
    log_level: Literal["debug", "info", "warning", "error"] = field(name="LOG_LEVEL", default="info")
    log_format: Literal["json", "console"] = field(name="LOG_FORMAT", default="json")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.metrics_port and not self.metrics_token and self.metrics_host not in LOOPBACK:
            yield "METRICS_TOKEN is missing: METRICS_HOST is reached from other machines"


class ProcessSettings(Struct, frozen=True, kw_only=True):
    database: DatabaseSettings
    service: ServiceSettings | None
    consumer: ConsumerSettings


def calls_service(queues: Iterable[LifecycleQueue]) -> bool:
    return any(queue.step is not None for queue in queues)


def load_settings(
    queues: Collection[LifecycleQueue], environ: Mapping[str, str] = os.environ
) -> ProcessSettings:
    """What these queues need. Raises SettingsError. A variable that is empty counts as absent."""
    problems: list[str] = []
    database = read_section(DatabaseSettings, environ, problems)
    service = read_section(ServiceSettings, environ, problems) if calls_service(queues) else None
    if calls_service(queues):  # the service has the same settings, and its faults stop the consumers as well
        read_section(EnrollmentSettings, environ, problems)
    consumer = read_section(ConsumerSettings, environ, problems)
    if problems or database is None or consumer is None:
        raise SettingsError(problems)
    return ProcessSettings(database=database, service=service, consumer=consumer)
