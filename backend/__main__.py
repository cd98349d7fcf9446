"""python -m backend: serve until SIGTERM or SIGINT, then finish what was begun and exit."""

import asyncio
import ctypes
import os
import resource
import signal
import sys

from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server
from litestar import Litestar

from backend.app import create_app
from backend.settings import SettingsError, load_settings

DRAIN_SECONDS = 20  # for requests under way, after which a worker is ended
MOST_CONNECTIONS = 16_384  # of a worker at once; most of them are event streams, which wait
PR_SET_PDEATHSIG = 1
SERVER_PID = "LIKENESS_SERVER_PID"


def main() -> None:
    try:
        server = load_settings().server
    except SettingsError as error:
        sys.exit(str(error))
    allow_many_files()
    os.environ[SERVER_PID] = str(os.getpid())
    Server(
        "backend.__main__:create_worker_app",
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
    """A connection is an open file, of which many systems grant 1024 to who does not ask for more."""
    granted, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CONNECTIONS if most == resource.RLIM_INFINITY else min(most, 2 * MOST_CONNECTIONS)
    if resource.RLIM_INFINITY != granted < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def create_worker_app() -> Litestar:
    """In a worker process: when the server is killed, its workers go too, and the port is free again."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[SERVER_PID]):  # it died before the line above
            sys.exit(1)
    app = create_app()
    app.on_startup.append(end_streams_first)
    return app


async def end_streams_first(app: Litestar) -> None:
    """At SIGTERM the server waits for its connections, and an event stream would not end by itself.

    The server's own handler is left on SIGINT, which is how the signal is passed on.
    """

    def end_streams() -> None:
        app.state.hub.close()
        os.kill(os.getpid(), signal.SIGINT)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end_streams)


if __name__ == "__main__":
    main()
