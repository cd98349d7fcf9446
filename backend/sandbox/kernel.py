"""What Linux offers to restrict a process, called through the C library.

Each function raises OSError where the kernel refuses. A process that lost something here never gets it back.
"""

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterable

from backend.sandbox.system_calls import denying_filter, filter_of_jobs

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS = 1, 4, 8, 38
CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
SECCOMP, UNSHARE = ({"x86_64": (317, 272), "aarch64": (277, 97)}).get(os.uname().machine, (None, None))
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_VERSION, LANDLOCK_PATH_BENEATH = 1, 1
# Execute, read a file, read a folder; and of each version of Landlock, how many rights over files it knows.
READING = 1 << 0 | 1 << 2 | 1 << 3
READING_A_FILE = 1 << 0 | 1 << 2
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
NETWORK_RIGHTS, SCOPES = 0b11, 0b11  # bind and connect TCP; abstract sockets and signals
CAPABILITIES_VERSION = 0x20080522
CAP_DAC_READ_SEARCH = 2

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, value: int) -> None:
    if _libc is None:
        raise OSError("this system has no prctl")
    _checked(_libc.prctl(option, value, 0, 0, 0))


def _system_call(number: int | None, *arguments: object) -> int:
    if _libc is None or number is None:
        raise OSError("this system has no such call")
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments))


def hide_from_other_processes() -> None:
    """Closes /proc/<pid>/environ, /proc/<pid>/fd and ptrace to processes of the same user."""
    prctl(PR_SET_DUMPABLE, 0)


def hide_from_workers() -> None:
    """The same for a process of the service, where the system has it."""
    with contextlib.suppress(OSError):
        hide_from_other_processes()


def unshare_network() -> None:
    """A network namespace of its own, in which there is no network."""
    flags = CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWNET | CLONE_NEWUSER
    _system_call(UNSHARE, ctypes.c_long(flags))


def deny_system_calls() -> None:
    """Those of system_calls.py, for every thread. Needs PR_SET_NO_NEW_PRIVS."""
    _add_filter(denying_filter(os.uname().machine, os.getpid()))


def deny_processes(*, may_fork: bool) -> None:
    """No process is signalled any more, and none is started. Needs PR_SET_NO_NEW_PRIVS."""
    _add_filter(filter_of_jobs(os.uname().machine, os.getpid(), may_fork=may_fork))


def _add_filter(program: bytes) -> None:
    """For every thread, beside the filters that are there."""
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    flags = ctypes.c_long(SECCOMP_FILTER_FLAG_TSYNC)
    if _system_call(SECCOMP, ctypes.c_long(SECCOMP_SET_MODE_FILTER), flags, ctypes.c_char_p(header)):
        raise OSError("a thread could not be restricted")


def allow_reading_only(paths: Iterable[str]) -> None:
    """Only these files and folders can be opened, and only to read. Needs PR_SET_NO_NEW_PRIVS."""
    zero = ctypes.c_long(0)
    version = _system_call(LANDLOCK_CREATE_RULESET, None, zero, ctypes.c_long(LANDLOCK_VERSION))
    rights = struct.pack(
        "=QQQ",
        (1 << FILE_RIGHTS.get(version, 16)) - 1,
        NETWORK_RIGHTS if version >= 4 else 0,
        SCOPES if version >= 6 else 0,
    )
    size = ctypes.c_long(8 if version < 4 else 16 if version < 6 else 24)
    rules = _system_call(LANDLOCK_CREATE_RULESET, ctypes.c_char_p(rights), size, zero)
    try:
        for path in paths:
            _allow_reading(rules, path)
        _system_call(LANDLOCK_RESTRICT_SELF, ctypes.c_long(rules), zero)
    finally:
        os.close(rules)


def _allow_reading(rules: int, path: str) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rule = struct.pack("=Qi", READING if os.path.isdir(path) else READING_A_FILE, place)
        kind = ctypes.c_long(LANDLOCK_PATH_BENEATH)
        _system_call(LANDLOCK_ADD_RULE, ctypes.c_long(rules), kind, ctypes.c_char_p(rule), ctypes.c_long(0))
    finally:
        os.close(place)


def keep_capabilities(*kept: int) -> None:
    """Gives up all capabilities but these."""
    if _libc is None:
        raise OSError("this system has no capabilities")
    mask = sum(1 << each for each in kept)
    header = struct.pack("=Ii", CAPABILITIES_VERSION, 0)
    _checked(_libc.capset(header, struct.pack("=6I", mask, mask, 0, 0, 0, 0)))
