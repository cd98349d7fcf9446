"""A worker restricts itself here, after its imports and before its first job; and a job, before its input.

The input may take a job over.

Where the kernel refuses a restriction, the others still hold, and the service logs its name at start.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from backend.sandbox import kernel

ROOT = Path(__file__).parents[2]
OWN_USERS = 1_900_000_000  # beside the ids that systems and containers give to people
NOBODY = 65_534
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/dev/urandom")

refused: list[str] = []  # the restrictions that the kernel refused this process


def restrict_this_process(module: str, parent: int) -> None:
    """The user last: what comes before may need the rights of root."""
    _try("no_new_privileges", lambda: kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1))
    files = _try("files", lambda: kernel.allow_reading_only(code(module)))
    if not _try("system_calls", kernel.deny_system_calls):
        _try("network", kernel.unshare_network)
    if os.geteuid() == 0:
        _try("user", lambda: become_another_user(may_read_all=files))
    _try("dumpable", kernel.hide_from_other_processes)
    if sys.platform == "linux":  # the change of the user cleared it
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def restrict_job(worker: int, *, may_fork: bool) -> None:
    """A job has the restrictions of its worker, signals no process, and ends with its worker.

    It starts no process, which could read the next request, unless that is how the job's module works.
    """
    if "system_calls" not in refused:
        kernel.deny_processes(may_fork=may_fork)
    if sys.platform == "linux":  # a fork clears it
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != worker:
            os._exit(1)


def _try(name: str, restrict: Callable[[], None]) -> bool:
    try:
        restrict()
    except OSError:
        refused.append(name)
        return False
    return True


def code(module: str) -> set[str]:
    """What a job may read: Python, its packages, this package, and the one that the job's module is in."""
    packages = {ROOT / "backend", ROOT / module.partition(".")[0]}
    found = {sys.prefix, sys.base_prefix, sys.exec_prefix, *LIBRARIES, *map(str, packages)}
    found |= {each for each in sys.path if "-packages" in each}
    found |= set(filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")))
    return {os.path.realpath(each) for each in found}


def become_another_user(*, may_read_all: bool) -> None:
    """A user of this worker alone, so that no worker can reach another; else nobody.

    Code in a folder that is root's alone stays readable, if nothing else can be read anyway.
    """
    if not may_read_all and not is_public(sys.base_prefix, sys.prefix, str(ROOT)):
        raise PermissionError("another user could not read the code")
    if may_read_all:
        kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    for user in (OWN_USERS + os.getpid(), NOBODY):
        try:
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        except OSError:
            if user == NOBODY:
                raise
        else:
            break
    kernel.keep_capabilities(*([kernel.CAP_DAC_READ_SEARCH] if may_read_all else []))


def is_public(*paths: str) -> bool:
    """Whether every user can enter these folders."""
    folders = {each for path in paths for each in (Path(path).resolve(), *Path(path).resolve().parents)}
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in folders)
