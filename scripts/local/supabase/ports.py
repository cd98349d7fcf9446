"""Free TCP ports on the loopback interface."""

import secrets
import socket
import sys

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
    """

    def __init__(self) -> None:
        self._claims: list[socket.socket] = []

    def take(self, preferred: int = 0) -> int:
        port = free_port(preferred)
        while not self._claim(port):
            port = free_port()
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
