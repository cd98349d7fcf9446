"""python -m backend: serve until SIGTERM or SIGINT, then finish what was begun and exit."""

import sys

from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server

from backend.settings import SettingsError, load_settings

DRAIN_SECONDS = 20  # for requests under way, after which a worker is ended


def main() -> None:
    try:
        server = load_settings().server
    except SettingsError as error:
        sys.exit(str(error))
    Server(
        "backend.app:create_app",
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


if __name__ == "__main__":
    main()
