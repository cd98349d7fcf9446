"""The sandbox from within: what code in a worker can reach of the service, its machine and the network."""

import asyncio
import ctypes
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from backend.sandbox.kernel import PR_SET_DUMPABLE, prctl
from backend.sandbox.pool import WorkerPool

PR_GET_DUMPABLE = 3
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the restrictions are Linux's")


@pytest.fixture
async def worker() -> AsyncIterator[WorkerPool]:
    pool = WorkerPool("tests.backend.attacker", size=1)
    yield pool
    await pool.aclose()


@pytest.fixture(scope="module")
async def refused() -> list[str]:
    """The restrictions that this kernel does not have."""
    pool = WorkerPool("backend.sandbox.report", size=1)
    try:
        return msgspec.json.decode(await pool.run(b""), type=list[str])
    finally:
        await pool.aclose()


async def attack(worker: WorkerPool, code: str, files: list[int] | None = None) -> str:
    return (await worker.run(code.encode(), files or [])).decode()


def needs(refused: list[str], *restrictions: str) -> None:
    if missing := set(restrictions) & set(refused):
        pytest.skip(f"this kernel refuses: {', '.join(missing)}")


async def test_its_environment_is_empty(worker: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_x")
    monkeypatch.setenv("HOME", "/home/of-the-service")
    first = "import ctypes; result = sorted(__import__('os').environ)"
    own = {"LC_CTYPE", "OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OPENBLAS_NUM_THREADS", "LD_LIBRARY_PATH"}
    assert set(eval(await attack(worker, first))) <= own  # noqa: S307 - a list of names
    (pid,) = worker.process_ids
    path = Path(f"/proc/{pid}/environ")
    given = await asyncio.to_thread(path.read_bytes) if os.geteuid() == 0 else b""
    assert b"SECRET" not in given
    assert b"HOME" not in given


@pytest.fixture
def hidden_parent() -> Iterator[None]:
    was = ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
    prctl(PR_SET_DUMPABLE, 0)  # as the service does at its start
    yield
    prctl(PR_SET_DUMPABLE, was)


PARENT = f"import os\nparent, worker = {os.getpid()}, os.getppid()\n"  # the service, and what forked the job


@pytest.mark.usefixtures("hidden_parent")
@pytest.mark.parametrize("file", ["environ", "mem", "maps", "fd/0", "fd", "task"])
@pytest.mark.parametrize("whose", ["parent", "worker"])
async def test_it_reads_nothing_of_the_service_in_proc(worker: WorkerPool, whose: str, file: str) -> None:
    read = "os.listdir(path)" if file in {"fd", "task"} else "open(path, 'rb').read(10)"
    answer = await attack(worker, f"{PARENT}path = f'/proc/{{{whose}}}/{file}'\nresult = {read}")
    if file == "task":  # public in itself; what is below it is not
        answer = await attack(
            worker, f"{PARENT}result = open(f'/proc/{{{whose}}}/task/{{{whose}}}/environ').read()"
        )
    assert answer.startswith(("PermissionError", "FileNotFoundError", "OSError")), answer


async def test_a_parent_that_is_not_hidden_is_not_read_either(worker: WorkerPool, refused: list[str]) -> None:
    needs(refused, "files")
    answer = await attack(worker, f"{PARENT}result = open(f'/proc/{{parent}}/environ').read()")
    assert answer.startswith("PermissionError"), answer


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET"])
async def test_it_has_no_socket(worker: WorkerPool, refused: list[str], family: str) -> None:
    needs(refused, "system_calls")
    kind = "SOCK_RAW" if family in {"AF_NETLINK", "AF_PACKET"} else "SOCK_STREAM"
    answer = await attack(worker, f"import socket\nresult = socket.socket(socket.{family}, socket.{kind})")
    assert answer.startswith("PermissionError"), answer


async def test_it_reaches_no_server(worker: WorkerPool, refused: list[str]) -> None:
    if "system_calls" in refused:
        needs(refused, "network")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        code = f"import socket\nresult = socket.create_connection(('127.0.0.1', {port}), 2)"
        assert "Error" in await attack(worker, code)
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_it_signals_no_process_and_no_group(worker: WorkerPool, refused: list[str]) -> None:
    needs(refused, "system_calls")
    for target in ("parent", "worker", "os.getpid()", "0", "-1", "-parent", "-worker", "1"):
        answer = await attack(worker, f"{PARENT}import signal\nresult = os.kill({target}, 0)")
        assert answer.startswith("PermissionError"), (target, answer)
    answer = await attack(worker, f"{PARENT}result = os.pidfd_open(parent)")
    assert answer.startswith("PermissionError"), answer


async def test_it_has_no_descriptor_but_its_own(worker: WorkerPool) -> None:
    ours, theirs = socket.socketpair()
    with ours as connection, theirs, Path(__file__).open("rb") as file:  # noqa: ASYNC230 - it is at hand
        os.set_inheritable(connection.fileno(), True)
        os.set_inheritable(file.fileno(), True)
        code = (
            "import os\nresult = []\n"
            "for each in range(1024):\n"
            "    try: result.append(oct(os.fstat(each).st_mode & 0o170000))\n"
            "    except OSError: pass\n"
        )
        answer = await attack(worker, code)
    assert answer == repr([oct(0o020000)] * 3 + [oct(0o140000)]), "null three times, and its socket"


@pytest.mark.parametrize(
    "call",
    [
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "libc.unshare(0x10000000) and 'denied'",
        "libc.ptrace(16, parent, 0, 0) and 'denied'",
        "libc.setsid() < 0 and 'denied'",
        "os.setuid(0) or os.getuid() and 'denied'",
        "libc.syscall(425, 1, 0) and 'denied'",
    ],
)
async def test_it_starts_nothing_and_gains_nothing(worker: WorkerPool, refused: list[str], call: str) -> None:
    needs(refused, "system_calls")
    if "setuid" in call:
        needs(refused, "user")
    answer = await attack(worker, f"{PARENT}import ctypes\nlibc = ctypes.CDLL(None)\nresult = {call}")
    assert answer.startswith(("PermissionError", "'denied'")), answer


async def test_it_opens_no_file_but_code(worker: WorkerPool, refused: list[str], tmp_path: Path) -> None:
    needs(refused, "files")
    secret = tmp_path / "secret"
    secret.write_text("x")
    for path in (secret, "/etc/passwd", "/proc/self/environ", Path(__file__).parents[2] / "Makefile"):
        answer = await attack(worker, f"result = open({str(path)!r}).read()")
        assert answer.startswith("PermissionError"), (path, answer)
    for path in (tmp_path / "new", "/tmp/new", __file__):  # noqa: S108 - it is not made
        answer = await attack(worker, f"result = open({str(path)!r}, 'a')")
        assert answer.startswith("PermissionError"), (path, answer)
    assert not (await attack(worker, "import backend.sandbox.frames as result")).startswith("Perm")


async def test_as_root_each_worker_is_another_user_without_rights(refused: list[str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a worker another user")
    needs(refused, "user")
    pool = WorkerPool("tests.backend.attacker", size=2)
    try:
        code = "import os, time\ntime.sleep(0.2)\nresult = (*os.getresuid(), *os.getresgid(), os.getgroups())"
        users = await asyncio.gather(attack(pool, code), attack(pool, code))
        assert len(set(users)) == 2
        for each in users:
            ids = eval(each)  # noqa: S307 - a tuple of numbers
            assert 0 not in ids
            assert ids[-1] == []
    finally:
        await pool.aclose()


async def test_two_workers_do_not_see_each_other(refused: list[str]) -> None:
    needs(refused, "system_calls", "dumpable")
    pool = WorkerPool("tests.backend.attacker", size=1)
    other = WorkerPool("tests.backend.attacker", size=1)
    try:
        await attack(other, "result = 1")
        (victim,) = other.process_ids
        for code in (f"result = open('/proc/{victim}/mem', 'rb')", f"os.kill({victim}, 9)"):
            assert (await attack(pool, f"import os\n{code}")).startswith("PermissionError")
        assert await attack(other, "result = 2") == "2"
    finally:
        await pool.aclose()
        await other.aclose()


async def test_it_cannot_raise_its_limits(worker: WorkerPool) -> None:
    for kind in ("RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE"):
        code = (
            "import resource\n"
            f"soft, hard = resource.getrlimit(resource.{kind})\n"
            f"resource.setrlimit(resource.{kind}, (soft + 1, hard + 1))"
        )
        answer = await attack(worker, code)
        assert answer.startswith(("ValueError", "PermissionError")), (kind, answer)
    code = "import os, resource\nresult = resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))"
    assert (await attack(worker, code)).startswith("PermissionError")


@pytest.mark.parametrize("start", ["os.fork()", "libc.fork()", "libc.vfork()"])
async def test_it_starts_no_process_that_would_read_the_next_request(
    worker: WorkerPool, refused: list[str], start: str
) -> None:
    needs(refused, "system_calls")
    answer = await attack(worker, f"import os, ctypes\nlibc = ctypes.CDLL(None)\nresult = {start}")
    assert answer == "-1" or answer.startswith("PermissionError"), answer
    assert await attack(worker, "import threading as t\nresult = t.Thread(target=print).start()") == "None"


async def test_a_job_that_is_taken_over_leaves_nothing_to_the_next(worker: WorkerPool) -> None:
    attacked = (
        "import sys, builtins\nbuiltins.open = sys.exit\nsys.modules['msgspec'] = None\nresult = 'done'"
    )
    assert await attack(worker, attacked) == "'done'"
    (before,) = worker.process_ids
    assert (
        await attack(worker, "import msgspec, builtins\nresult = builtins.open is __builtins__['open']")
        == "True"
    )
    assert worker.process_ids == [before]


async def test_what_it_started_ends_with_it() -> None:
    """Where its module may fork; it signals nobody either way."""
    worker = WorkerPool("tests.backend.forking_attacker", size=1)
    reader, writer = os.pipe()
    forked = (
        "import os, time\nfiles[0].write(b'x')\n"
        "if os.fork() == 0:\n    os.set_inheritable(files[0].fileno(), True)\n    time.sleep(600)\n"
        "result = 'forked'"
    )
    assert await attack(worker, forked, [writer]) == "'forked'"
    os.close(writer)
    await worker.aclose()
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"x", "the end of the file: no process has the other end any more"
