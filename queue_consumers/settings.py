"""Settings of the consumers, read from environment variables; every fault is named at once."""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from backend.settings.database import DatabaseSettings
from backend.settings.sections import Count, Seconds, Section, SettingsError, read_section, url_problems
from queue_consumers.queue import Queue


class ServiceSettings(Section, frozen=True, kw_only=True):
    """How the service is reached; only the queues whose handlers call it need this."""

    url: str = field(name="SERVICE_URL")
    internal_token: str = field(name="INTERNAL_TOKEN")

    def problems(self) -> Iterator[str]:
        yield from url_problems("SERVICE_URL", self.url)


class ConsumerSettings(Section, frozen=True, kw_only=True):
    max_jobs: Count = field(name="MAX_JOBS", default=50)  # at once, over all queues that call the service
    poll_seconds: Seconds = field(name="POLL_SECONDS", default=5.0)
    # about so often; 0 leaves the sweep to another timer, as pg_cron's
    sweep_seconds: Annotated[float, Meta(ge=0)] = field(name="SWEEP_SECONDS", default=1.0)
    visibility_seconds: Count = field(name="VISIBILITY_SECONDS", default=30)
    deadline_seconds: Seconds = field(name="DEADLINE_SECONDS", default=300.0)  # for one message
    budget: Count = field(name="MESSAGE_BUDGET", default=16)  # tries before a message is a dead letter
    retry_base_seconds: Annotated[float, Meta(ge=0)] = field(name="RETRY_BASE_SECONDS", default=1.0)
    retry_cap_seconds: Seconds = field(name="RETRY_CAP_SECONDS", default=300.0)
    grace_seconds: Seconds = field(name="GRACE_SECONDS", default=25.0)
    log_level: Literal["debug", "info", "warning", "error"] = field(name="LOG_LEVEL", default="info")
    log_format: Literal["json", "console"] = field(name="LOG_FORMAT", default="json")


class Settings(Struct, frozen=True, kw_only=True):
    database: DatabaseSettings
    service: ServiceSettings | None
    consumer: ConsumerSettings


def load_settings(queues: Iterable[Queue], environ: Mapping[str, str] = os.environ) -> Settings:
    """What these queues need. Raises SettingsError. A variable that is empty counts as absent."""
    problems: list[str] = []
    calls_service = any(queue.calls_service for queue in queues)
    database = read_section(DatabaseSettings, environ, problems)
    service = read_section(ServiceSettings, environ, problems) if calls_service else None
    consumer = read_section(ConsumerSettings, environ, problems)
    if problems or database is None or consumer is None:
        raise SettingsError(problems)
    return Settings(database=database, service=service, consumer=consumer)
