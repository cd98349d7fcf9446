"""A whole local Supabase: Postgres, Auth and Data API, Storage behind one port, migrations pushed."""

import asyncio
import fcntl
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import IO

import msgspec

from scripts.local.supabase.auth_and_data import start_auth_and_data
from scripts.local.supabase.config import GatewaySettings, load_config
from scripts.local.supabase.keys import Secrets, load_secrets
from scripts.local.supabase.ports import Ports
from scripts.local.supabase.postgres import DEFAULT_VERSION, Cluster
from scripts.local.supabase.processes import Child, Processes
from scripts.local.supabase.storage.server import StorageSettings
from scripts.local.supabase.storage.tokens import Keys
from scripts.migrations import ROOT, is_migrated, push_migrations

DEMO_EMAIL = "demo@likeness.local"


class StackError(Exception):
    """The stack cannot start."""


class Stack(msgspec.Struct):
    """A running Supabase. The service and the simulator add their addresses when they run as well."""

    directory: Path
    supabase_url: str
    secrets: Secrets
    cluster: Cluster
    processes: Processes
    ports: Ports
    api_url: str = ""
    simulator_url: str = ""
    provider: str = ""  # for people: which one is used, and whether it is simulated
    provider_is_real: bool = False
    serving: tuple[Child, Child] | None = None  # Auth and Data API, gateway

    @property
    def database_url(self) -> str:
        """As the service logs in: a role that owns nothing."""
        return self.cluster.dsn("voice_clone_service")

    @property
    def publishable_key(self) -> str:
        return self.secrets.publishable_key

    @property
    def secret_key(self) -> str:
        return self.secrets.secret_key

    @property
    def internal_token(self) -> str:
        return self.secrets.internal_token

    @property
    def file(self) -> Path:
        return self.directory / "stack.json"

    async def until_ready(self) -> None:
        """Until Auth, Data API and Storage answer; raises ProcessError where one does not."""
        if self.serving:
            lite, gateway = self.serving
            status = f"{self.supabase_url}/storage/v1/status"
            await asyncio.gather(lite.await_output("listening"), gateway.await_url(status))

    def describe(self) -> dict[str, str]:
        """The content of stack.json."""
        return {
            "api_url": self.api_url,
            "supabase_url": self.supabase_url,
            "publishable_key": self.publishable_key,
            "secret_key": self.secret_key,
            "jwt_secret": self.secrets.jwt_secret,
            "database_url": self.database_url,
            "internal_token": self.internal_token,
            "simulator_url": self.simulator_url,
            "demo_email": DEMO_EMAIL,
            "demo_password": self.secrets.demo_password,
        }


def local_directory() -> Path:
    """LOCAL_DIR, by default .local in the checkout."""
    return Path(os.environ.get("LOCAL_DIR") or ROOT / ".local").resolve()


@asynccontextmanager
async def running_stack(
    directory: Path | None = None,
    *,
    version: int = DEFAULT_VERSION,
    postgres_settings: Mapping[str, str] | None = None,
    wait: bool = True,
    realtime: bool = True,
    cron: bool = False,
    push: bool = True,
) -> AsyncIterator[Stack]:
    """Start it on what LOCAL_DIR holds, stop it on leaving, also when the start is interrupted.

    Without `wait` only Postgres is ready, and `until_ready` waits for the rest. `realtime`: as on a hosted
    project, each transition is broadcast. `cron`: jobs of pg_cron and calls of pg_net run, so that a project
    without consumers can be tried. Without `push` the project has no migration of ours.

    Raises:
        StackError: the directory is in use.
        PostgresError, MigrationError, ProcessError: with the end of the log that tells why.
    """
    directory = (directory or local_directory()).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as cleanup:
        cleanup.enter_context(lock(directory))
        (directory / "stack.json").unlink(missing_ok=True)  # the file exists only while the stack is ready
        config, secrets = load_config(), load_secrets(directory / "secrets.json")
        ports = Ports(directory / "ports.json")
        cleanup.callback(ports.close)
        processes = Processes(directory / "logs")
        cluster = Cluster(directory / f"postgres-{version}", version)
        cleanup.callback(cluster.stop)
        cluster.start(
            port=ports.take(config.database_port, "Postgres"),
            settings=postgres_settings,
            log=processes.logs / "postgres.log",
        )
        cleanup.push_async_callback(processes.stop_all)
        await asyncio.sleep(0)  # lets a cancellation take effect
        if push and not is_migrated(cluster.dsn("postgres")):
            push_migrations(cluster.dsn("postgres"))
            await asyncio.sleep(0)
        if realtime:
            cluster.add_realtime()
            if push:
                cluster.enable_realtime()
        cluster.set_passwords()
        api_port = ports.take(config.api_port, "Supabase")
        supabase_url = f"http://127.0.0.1:{api_port}"
        stack = Stack(directory, supabase_url, secrets, cluster, processes, ports)
        upstream = ports.take(0, "Auth and Data API")
        lite = await start_auth_and_data(
            processes, upstream, cluster.dsn("supabase_auth_admin"), supabase_url, config, secrets
        )
        gateway = await start_gateway(stack, upstream, realtime=realtime)
        stack.serving = (lite, gateway)
        if cron:
            cluster.add_cron()
            settings = {"CRON_DATABASE_URL": cluster.dsn("postgres")}
            await processes.start(
                "cron", [sys.executable, "-m", "scripts.local.supabase.cron"], settings, cwd=ROOT
            )
        if wait:
            await stack.until_ready()
        yield stack


async def start_gateway(stack: Stack, upstream: int, *, realtime: bool) -> Child:
    secrets = stack.secrets
    settings = GatewaySettings(
        port=int(stack.supabase_url.rsplit(":", 1)[1]),
        upstream=f"http://127.0.0.1:{upstream}",
        realtime_url=stack.cluster.dsn("supabase_realtime_admin") if realtime else "",
        storage=StorageSettings(
            database_url=stack.cluster.dsn("supabase_storage_admin"),
            root=str(stack.directory / "storage"),
            keys=Keys(
                publishable_key=secrets.publishable_key,
                secret_key=secrets.secret_key,
                anon_key=secrets.anon_key,
                service_role_key=secrets.service_role_key,
                jwt_secret=secrets.jwt_secret,
            ),
        ),
    )
    env = {"GATEWAY_SETTINGS": msgspec.json.encode(settings).decode()}
    command = [sys.executable, "-m", "scripts.local.supabase.gateway"]
    return await stack.processes.start("gateway", command, env, cwd=ROOT)


class lock:  # noqa: N801
    """Holds LOCAL_DIR for one stack; the kernel lets go when the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "lock"
        self.file: IO[str] | None = None

    def __enter__(self) -> None:
        self.file = self.path.open("a+")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.file.seek(0)
            holder = self.file.read().strip() or "another process"
            self.file.close()
            message = f"{self.path.parent} is in use by process {holder}; set LOCAL_DIR to run a second stack"
            raise StackError(message) from error
        self.file.truncate(0)
        self.file.write(str(os.getpid()))
        self.file.flush()

    def __exit__(self, *_: object) -> None:
        if self.file:
            self.file.close()
