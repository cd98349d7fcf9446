"""python -m backend: serve until SIGTERM or SIGINT, then finish what was begun and exit."""

import ctypes
import os
import signal
import sys

from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server
from litestar import Litestar

from backend.app import create_app
from backend.settings import SettingsError, load_settings

DRAIN_SECONDS = 20  # for requests under way, after which a worker is ended
PR_SET_PDEATHSIG = 1
SERVER_PID = "LIKENESS_SERVER_PID"


def main() -> None:
    try:
        server = load_settings().server
    except SettingsError as error:
        sys.exit(str(error))
    os.environ[SERVER_PID] = str(os.getpid())
    Server(
        "backend.__main__:create_worker_app",
        factory=True,
        interface=Interfaces.ASGI,
        address=server.host,
        port=server.port,
        workers=server.workers,
        workers_kill_timeout=DRAIN_SECONDS,
        loop=Loops.uvloop,
        log_level=LogLevels.warning,
        log_access=False,
        websockets=False,
    ).serve()


def create_worker_app() -> Litestar:
    """In a worker process: when the server is killed, its workers go too, and the port is free again."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[SERVER_PID]):  # it died before the line above
            sys.exit(1)
    return create_app()


if __name__ == "__main__":
    main()
