"""PgBouncer, of Debian, in front of a project: a port for each mode that a hosted project's pooler has."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from scripts.local.supabase.ports import free_port
from scripts.parent_death import die_with_parent

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Pooler(Struct, frozen=True):
    """The same login as given, by each of its modes."""

    transaction: str
    session: str


def written(folder: Path, mode: str, port: int, url: str) -> Path:
    parts = conninfo_to_dict(url)
    (folder / "users").write_text(f'"{parts["user"]}" "{parts["password"]}"\n')
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": folder / "users",
        "pool_mode": mode,
        "max_client_conn": 200,
        "default_pool_size": 20,
        "logfile": folder / f"{mode}.log",
        **({"user": "nobody"} if os.geteuid() == 0 else {}),  # it refuses to be root
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    server = f"host={parts['host']} port={parts['port']}"
    path = folder / f"{mode}.ini"
    path.write_text("\n".join(["[databases]", f"* = {server}", "[pgbouncer]", *lines, ""]))
    return path


@contextmanager
def pooled(folder: Path, url: str) -> Iterator[Pooler]:
    """In front of the server of `url`, until the block ends."""
    assert PROGRAM
    folder.chmod(0o777)
    started, urls = [], {}
    try:
        for mode in ("transaction", "session"):
            port = free_port()
            command = [PROGRAM, written(folder, mode, port, url)]
            started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent()))
            urls[mode] = make_url(url, port)
            await_answer(started[-1], urls[mode])
        yield Pooler(**urls)
    finally:
        for process in started:
            process.terminate()
            process.wait(30)


def make_url(url: str, port: int) -> str:
    parts = conninfo_to_dict(url)
    return f"postgresql://{parts['user']}:{parts['password']}@127.0.0.1:{port}/{parts['dbname']}"


def await_answer(process: "subprocess.Popen[bytes]", url: str) -> None:
    """Until it listens: a connection that is refused is tried again while the process runs."""
    while True:
        try:
            psycopg.connect(make_conninfo(url, connect_timeout=10)).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or "refused" not in str(error):
                raise
        else:
            return
