"""Free TCP ports on the loopback interface."""

import atexit
import json
import secrets
import socket
import sys
from contextlib import suppress
from pathlib import Path

# Below the range from which outgoing connections take theirs: none of them can take a port between the
# probe and the server's own bind.
CHOSEN = range(20_000, 32_000)
MOST_RESERVED = 64
_reserved: dict[int, socket.socket] = {}  # oldest first


def free_port(preferred: int = 0, among: range = CHOSEN) -> int:
    """`preferred` when nothing listens there, else any free port that no other process was just given."""
    if preferred and is_free(preferred):
        return preferred
    for _ in range(1_000):
        port = secrets.choice(among)
        if reserve(port) and is_free(port):
            return port
    raise OSError("no free port on 127.0.0.1")


def reserve(port: int) -> bool:
    """No other process chooses the port until this one has chosen MOST_RESERVED more.

    Its server listens by then. A process that names the port as its preferred one may still take it.
    """
    claimed = None if port in _reserved else claim(f"choice-{port}")
    if claimed is None:
        return False
    _reserved[port] = claimed
    if len(_reserved) > MOST_RESERVED:
        _reserved.pop(next(iter(_reserved))).close()
    return True


@atexit.register
def release() -> None:
    """Close the claim of every port that this process has reserved, or Python warns at its exit."""
    for claimed in _reserved.values():
        claimed.close()


def claim(name: str) -> socket.socket | None:
    """On Linux a name in the abstract socket space, which goes with the process; None where another has it.

    Elsewhere it claims nothing.
    """
    claimed = socket.socket(socket.AF_UNIX)
    try:
        if sys.platform == "linux":
            claimed.bind(f"\0likeness-{name}")
    except OSError:
        claimed.close()
        return None
    return claimed


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


class Ports:
    """Ports of one stack, claimed against other stacks until closed: servers bind well after the probe.

    With a `memory`, a JSON file, each name gets the port of the run before, where that is free.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self.moved: list[str] = []  # for people: which port was taken, and which is used instead
        self._claims: list[socket.socket] = []
        self._memory = memory
        self._known: dict[str, int] = {}
        if memory:
            with suppress(OSError, ValueError):
                self._known = {str(name): int(port) for name, port in json.loads(memory.read_text()).items()}

    def take(self, preferred: int = 0, name: str = "", *, chosen: int = 0) -> int:
        """`chosen` is a wish of the user's for this run, which goes before the memory."""
        wanted = chosen or self._known.get(name, preferred)
        port = free_port(wanted)
        while not self._claim(port):
            port = free_port()
        if wanted and port != wanted:
            self.moved.append(f"Port {wanted} is taken: {name or 'a server'} uses {port}.")
        if name and self._memory:
            self._known[name] = port
            self._memory.write_text(json.dumps(self._known))
        return port

    def close(self) -> None:
        for each in self._claims:
            each.close()
        self._claims.clear()

    def _claim(self, port: int) -> bool:
        claimed = claim(f"port-{port}")
        if claimed is None:
            return False
        self._claims.append(claimed)
        return True
