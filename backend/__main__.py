"""`python -m backend`: serve until SIGTERM or SIGINT, then finish the open requests and exit."""

import os
import resource
import sys

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from backend.env_file import read_env_file
from backend.sandbox.kernel import hide_from_workers
from backend.settings import load_settings
from backend.settings.sections import SettingsError

DRAIN_SECONDS = 20  # for open requests at shutdown; after that a worker is killed
MOST_CONNECTIONS = 16_384  # of one worker at the same time; most are idle event streams
HEAD_BYTES = 65_536  # of one request: its first line and its headers
SERVER_PID = "LIKENESS_SERVER_PID"


def main(app: str = "backend.app:create_worker_app") -> None:
    read_env_file()
    try:
        server = load_settings().server
    except SettingsError as error:
        sys.exit(str(error))
    hide_from_workers()
    head_seconds = min(server.request_timeout, DRAIN_SECONDS / 2)  # a shutdown waits for half a head too
    allow_many_files()
    os.environ[SERVER_PID] = str(os.getpid())
    Server(
        app,
        factory=True,
        interface=Interfaces.ASGI,
        address=server.host,
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
    ).serve()


def allow_many_files() -> None:
    """Raise the limit of open files: each connection is one, and many systems allow 1024 by default."""
    granted, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CONNECTIONS if most == resource.RLIM_INFINITY else min(most, 2 * MOST_CONNECTIONS)
    if resource.RLIM_INFINITY != granted < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


if __name__ == "__main__":
    main()
