"""Children that end with the process that started them, however that one ends."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(sent: signal.Signals = signal.SIGKILL) -> Callable[[], None] | None:
    """A `preexec_fn`: the kernel sends the child this signal when the thread that started it ends.

    Start children from the main thread, which lives as long as its process. Outside of Linux this does
    nothing, and the next start ends what a killed run left.

    SIGKILL by default: a child that drains on SIGTERM would wait for clients while its database is gone. A
    child's own children are not covered; the service does the same for its workers.
    """
    if _libc is None:
        return None
    libc, parent = _libc, os.getpid()

    def set_signal() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(sent), 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os.kill(os.getpid(), signal.SIGKILL)

    return set_signal
