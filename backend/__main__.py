"""`python -m backend`: serve until SIGTERM or SIGINT, then finish the open requests and exit."""

import os
import resource
import sys

from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server

from backend.sandbox.kernel import hide_from_workers
from backend.settings import load_settings
from backend.settings.sections import SettingsError

DRAIN_SECONDS = 20  # for open requests at shutdown; after that a worker is killed
MOST_CONNECTIONS = 16_384  # of one worker at the same time; most are idle event streams
SERVER_PID = "LIKENESS_SERVER_PID"


def main(app: str = "backend.app:create_worker_app") -> None:
    try:
        server = load_settings().server
    except SettingsError as error:
        sys.exit(str(error))
    hide_from_workers()
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
        backpressure=MOST_CONNECTIONS,
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
