"""Free TCP ports on the loopback interface."""

import json
import secrets
import socket
import sys
from contextlib import suppress
from pathlib import Path

# Below the range from which outgoing connections take theirs: none of them can take a port between the
# probe and the server's own bind.
FIRST, LAST = 20_000, 32_000


def free_port(preferred: int = 0) -> int:
    """`preferred` when nothing listens there, else any free port."""
    if preferred and is_free(preferred):
        return preferred
    for _ in range(1_000):
        port = FIRST + secrets.randbelow(LAST - FIRST)
        if is_free(port):
            return port
    raise OSError("no free port on 127.0.0.1")


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
    """Ports of one stack, claimed against other stacks until closed.

    A port is probed well before its server binds it, so two stacks that start together could choose the same
    one. On Linux a claim is a name in the abstract socket space, which goes with the process.

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
        for claim in self._claims:
            claim.close()
        self._claims.clear()

    def _claim(self, port: int) -> bool:
        if sys.platform != "linux":
            return True
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0likeness-port-{port}")
        except OSError:
            claim.close()
            return False
        self._claims.append(claim)
        return True
