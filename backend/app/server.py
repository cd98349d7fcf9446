"""The server process: serve until SIGTERM or SIGINT, then finish the open requests and exit.

It loads no route: each worker loads the app by its name.
"""

import atexit
import os
import resource
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server
from granian.server.common import AbstractServer

from backend.checks.database import check_database
from backend.checks.findings import Check, Finding
from backend.checks.listening import check_port, resolve_host
from backend.checks.spoken_consents import check_spoken_consents
from backend.checks.starting import found_parts, report_faults, require_no_fault
from backend.checks.storage import check_storage
from backend.sandbox.kernel import hide_from_workers
from backend.settings import Settings, load_settings
from backend.settings.database import DatabaseSettings
from backend.settings.env_file import read_env_file
from backend.settings.sections import SettingsError, read_section, sound_section
from backend.settings.server import SERVER_PID, ServerSettings
from backend.settings.supabase import SupabaseSettings
from backend.telemetry import MULTIPROCESS_DIR
from backend.web.logs import configure_logging, log

DRAIN_SECONDS = 20  # for open requests at shutdown; after that a worker is killed
MOST_CONNECTIONS = 16_384  # of one worker at the same time; most are idle event streams
HEAD_BYTES = 65_536  # of one request: its first line and its headers


def main(app: str = "backend.app.service:create_worker_app") -> None:
    read_env_file()
    settings, findings = check_start(os.environ)
    server = settings.server
    configure_logging(server.log_level, server.log_format)
    hide_from_workers()
    head_seconds = min(server.request_timeout, DRAIN_SECONDS / 2)  # a shutdown waits for half a head too
    allow_many_files()
    os.environ[SERVER_PID] = str(os.getpid())
    if server.workers > 1:
        os.environ[MULTIPROCESS_DIR] = metrics_directory()
    listener = Server(
        app,
        factory=True,
        interface=Interfaces.ASGI,
        address=resolve_host(server),
        port=server.port,
        workers=server.workers,
        workers_kill_timeout=DRAIN_SECONDS,
        respawn_failed_workers=server.workers > 1,  # of a single one, the exit is what a supervisor sees
        backpressure=MOST_CONNECTIONS,
        http=HTTPModes.auto if server.http2 else HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(head_seconds * 1000), max_buffer_size=HEAD_BYTES
        ),
        loop=Loops.uvloop,
        log_level=LogLevels.warning,
        log_access=False,
        websockets=False,
    )
    listener.on_startup(lambda: say_start(settings, findings))
    serve(listener, server)


def serve(listener: AbstractServer[Any], server: ServerSettings) -> None:
    """Until a signal. Exits with the fault where another process took the port since it was checked."""
    try:
        listener.serve()
    except RuntimeError:  # with the address in use as its text alone
        require_no_fault("service", [], [partial(check_port, server)])
        raise


def metrics_directory() -> str:
    """Where the workers of this server keep their numbers; it goes when the server ends."""
    directory = tempfile.mkdtemp(prefix="likeness-metrics-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def check_start(environ: Mapping[str, str]) -> tuple[Settings, list[Finding]]:
    """The settings, and what was found of everything that they name. Exits where the service cannot work."""
    problems: list[str] = []
    settings = None
    try:
        settings = load_settings(environ)
    except SettingsError as error:
        problems = error.problems
    checks: list[Check] = []
    if database := sound_section(DatabaseSettings, environ):
        checks.append(partial(check_database, database))
        checks.append(partial(check_spoken_consents, database))
    if supabase := sound_section(SupabaseSettings, environ):
        checks.append(partial(check_storage, supabase))
    if server := read_section(ServerSettings, environ, []):  # whatever its other faults
        checks.append(partial(check_port, server))
    findings = require_no_fault("service", problems, checks)
    assert settings is not None  # noqa: S101 - else there were problems
    return settings, findings


def say_start(settings: Settings, findings: Sequence[Finding]) -> None:
    """The three lines of a start, once the port is open; and what does not work yet."""
    found = found_parts(findings)
    server, providers = settings.server, settings.providers
    log.info("serving", url=f"http://{server.address}", workers=server.workers)
    log.info(
        "project_found",
        project=settings.supabase.url,
        database=found.get("database"),
        schema=found.get("schema"),
        buckets=found.get("buckets"),
    )
    log.info("providers_configured", default=providers.voice_provider, providers=providers.configured)
    report_faults(findings)


def allow_many_files() -> None:
    """Raise the limit of open files: each connection is one, and many systems allow 1024 by default."""
    granted, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CONNECTIONS if most == resource.RLIM_INFINITY else min(most, 2 * MOST_CONNECTIONS)
    if resource.RLIM_INFINITY != granted < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
