"""The system calls that a worker and its jobs may not make, and the seccomp filters that deny them.

A filter is a program for the kernel's BPF machine. It runs before each system call and answers: allow, or
fail with an error.
"""

import errno
import struct
from collections.abc import Iterable, Iterator

# name → number on x86_64, number on aarch64
DENIED = {
    # the network: a socket that cannot be made needs no rule for what is sent over it
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440), "tkill": (200, 130), "setsid": (112, 157), "setpgid": (109, 154),
    "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    # other programs, and the kernel
    "execve": (59, 221), "execveat": (322, 281), "unshare": (272, 97), "setns": (308, 268),
    "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "open_by_handle_at": (304, 265), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "reboot": (169, 142),
}  # fmt: skip
# Allowed where the first argument is this process.
OWN_PROCESS = {
    "kill": (62, 129), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
}  # fmt: skip
# Allowed where the first argument is zero, which is this process too.
OWN_LIMITS = {"prlimit64": (302, 261)}
# Threads and forks are allowed, new namespaces are not. The arguments of clone3 lie in memory, where no
# filter sees them: C libraries fall back to clone where the kernel does not have it.
CLONE, CLONE3 = (56, 220), (435, 435)
NEW_NAMESPACES = 0x7E020080
# How a job would start a process. With the flag, clone starts a thread.
FORKS = {"fork": (57, None), "vfork": (58, None)}
THREAD = 0x10000

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, the kernel's name
X32 = 0x40000000  # a second table of system calls, on x86_64

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets in the kernel's description of a call
ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000

# A call, how its first argument is compared, with what, and whether it is refused where that holds, or else.
Condition = tuple[int, int, int, bool]


def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def denying_filter(machine: str, pid: int) -> bytes:
    """Of a worker. Raises OSError for a machine whose system calls are not listed here."""
    column = _column(machine)
    return _program(
        machine,
        [numbers[column] for numbers in DENIED.values()],
        [CLONE3[column]],
        [
            *_own_process(column, pid),
            *((numbers[column], JUMP_EQUAL, 0, False) for numbers in OWN_LIMITS.values()),
            (CLONE[column], JUMP_ANY_BIT, NEW_NAMESPACES, True),
        ],
    )


def filter_of_jobs(machine: str, pid: int, *, may_fork: bool) -> bytes:
    """Of a job, beside the worker's, which lets signals go to the worker alone: together, to no process."""
    column = _column(machine)
    signals = list(_own_process(column, pid))
    if may_fork:
        return _program(machine, [], [], signals)
    forks = [number for numbers in FORKS.values() if (number := numbers[column]) is not None]
    return _program(machine, forks, [], [*signals, (CLONE[column], JUMP_ANY_BIT, THREAD, False)])


def _column(machine: str) -> int:
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    return ARCHITECTURES[machine][0]


def _own_process(column: int, pid: int) -> Iterator[Condition]:
    return ((numbers[column], JUMP_EQUAL, pid, False) for numbers in OWN_PROCESS.values())


def _program(
    machine: str, refused: Iterable[int], missing: Iterable[int], conditions: Iterable[Condition]
) -> bytes:
    """`missing`: calls that fail as if the kernel did not have them."""
    refuse = step(RETURN, FAIL | errno.EPERM)
    program = [
        step(LOAD, ARCHITECTURE),
        step(JUMP_EQUAL, ARCHITECTURES[machine][1], if_true=1),
        step(RETURN, KILL),
        step(LOAD, NUMBER),
        step(JUMP_AT_LEAST, X32, if_false=1),
        refuse,
    ]
    for number in refused:
        program += [step(JUMP_EQUAL, number, if_false=1), refuse]
    for number in missing:
        program += [step(JUMP_EQUAL, number, if_false=1), step(RETURN, FAIL | errno.ENOSYS)]
    for number, comparison, value, refused_if in conditions:
        program += [
            step(JUMP_EQUAL, number, if_false=4),
            step(LOAD, FIRST_ARGUMENT),
            step(comparison, value, if_true=0 if refused_if else 1, if_false=1 if refused_if else 0),
            refuse,
            step(RETURN, ALLOW),
        ]
    return b"".join([*program, step(RETURN, ALLOW)])
