"""`python -m queue_consumers [queue …]`: consume these queues, or all of them, until a signal."""

import asyncio
import os
import signal
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import structlog
import typer
import uvloop

from backend.app.queues import QUEUES, LifecycleQueue
from backend.checks.database import check_database
from backend.checks.findings import Check, Finding
from backend.checks.listening import check_service
from backend.checks.starting import found_parts, report_faults, require_no_fault
from backend.sandbox.kernel import hide_from_workers
from backend.settings.database import DatabaseSettings
from backend.settings.env_file import read_env_file
from backend.settings.sections import SettingsError, sound_section
from backend.telemetry.traces import configure_traces, end_traces
from backend.web.logs import configure_logging
from queue_consumers.http_steps import http_queue, open_client
from queue_consumers.resident import consume
from queue_consumers.settings import ProcessSettings, ServiceSettings, calls_service, load_settings

log = structlog.get_logger("queue_consumers")


def main(
    queues: Annotated[
        list[str] | None,
        typer.Argument(metavar="[QUEUE]...", help=f"Some of {', '.join(QUEUES)}; by default all."),
    ] = None,
) -> None:
    """Consume queues. SIGTERM or SIGINT drains within GRACE_SECONDS; a second one exits at once.

    Needs: DATABASE_URL and the other settings of .env.example, from the environment or from a file .env
    in the current folder.

    Exit codes: 0 stopped by a signal; 1 a setting is missing or wrong, and the message names all of them;
    2 there is no such queue.

    Example: likeness work voice_clone_process voice_mirror
    """
    read_env_file()
    names = list(dict.fromkeys(queues or QUEUES))
    if unknown := [name for name in names if name not in QUEUES]:
        raise typer.BadParameter(f"no queue {', '.join(unknown)}; there are {', '.join(QUEUES)}")
    chosen = [QUEUES[name] for name in names]
    settings, findings = check_start(chosen, os.environ)
    hide_from_workers()
    configure_logging(settings.consumer.log_level, settings.consumer.log_format)
    if reason := configure_traces("likeness-consumers"):
        log.warning("traces_not_sent", reason=reason)
    found = found_parts(findings)
    log.info("project_found", database=found.get("database"), schema=found.get("schema"))
    if settings.service:
        log.info("service_found", url=settings.service.url, answers="service" in found)
    report_faults(findings)
    uvloop.run(consume_until_signalled(settings, chosen))
    end_traces()


def check_start(
    queues: list[LifecycleQueue], environ: Mapping[str, str]
) -> tuple[ProcessSettings, list[Finding]]:
    """The settings, and what was found of everything that they name. Exits where consumers cannot work."""
    problems: list[str] = []
    settings = None
    try:
        settings = load_settings(queues, environ)
    except SettingsError as error:
        problems = error.problems
    checks: list[Check] = []
    if database := sound_section(DatabaseSettings, environ):
        checks.append(partial(check_database, database))
    service = sound_section(ServiceSettings, environ) if calls_service(queues) else None
    if service:
        checks.append(partial(check_service, service.url, service.internal_token))
    findings = require_no_fault("consumers", problems, checks)
    assert settings is not None  # noqa: S101 - else there were problems
    return settings, findings


async def consume_until_signalled(settings: ProcessSettings, queues: list[LifecycleQueue]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        # Even if a handler ignores its cancellation: unacknowledged messages are read again.
        loop.call_later(settings.consumer.grace_seconds, os._exit, 0)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    async with open_client(settings.service, settings.consumer.max_jobs) as http:
        await consume(settings, [http_queue(queue, http) for queue in queues], stop)


if __name__ == "__main__":
    typer.run(main)
