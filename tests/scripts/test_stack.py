"""Stacks start side by side, stop completely, and recover after a kill."""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from backend.app.server import DRAIN_SECONDS
from scripts.local.supabase.ports import free_port
from scripts.local.supabase.postgres import DEFAULT_VERSION
from scripts.local.supabase.processes import MOST_RESTARTS, ProcessError
from scripts.local.supabase.stack import Stack, StackError, running_stack
from scripts.migrations import ROOT
from tests.clusters import SPEED, copied_cluster, temporary_directory
from tests.scripts.conftest import Person


@pytest.fixture
def empty_directory() -> Iterator[Path]:
    with temporary_directory() as path:
        yield path


@pytest.fixture
def directory(template_directory: Path, empty_directory: Path) -> Path:
    """A LOCAL_DIR in which the database is migrated already."""
    copied_cluster(template_directory, empty_directory / f"postgres-{DEFAULT_VERSION}")
    return empty_directory


def processes_of(directory: Path) -> set[int]:
    """Processes that name the directory: as an argument, in the environment, or as working directory."""
    wanted, found = str(directory).encode(), set[int]()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            description = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            cwd = os.readlink(process / "cwd").encode()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # it ended meanwhile
            continue
        if (wanted in description or cwd.startswith(wanted)) and state != "Z":
            found.add(int(process.name))
    return found


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110, what other processes do raises no event here
            await asyncio.sleep(0.01)


@asynccontextmanager
async def supervisor(*command: str, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A supervisor in its own session; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *command,
        cwd=ROOT,
        env=os.environ | env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def unfinished_request(directory: Path) -> AsyncIterator[None]:
    """A client of the service that has sent half a request, and waits."""
    description = msgspec.json.decode((directory / "stack.json").read_bytes(), type=dict[str, str])
    url = httpx.URL(description["api_url"])
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"GET /health/live HTTP/1.1\r\nhost: likeness\r\n")
    await writer.drain()
    try:
        yield
    finally:
        writer.close()


async def line_with(process: asyncio.subprocess.Process, text: str) -> str:
    assert process.stdout is not None
    seen: list[str] = []
    while line := (await process.stdout.readline()).decode():
        seen.append(line)
        if text in line:
            return line
    raise AssertionError(f"ended before {text!r}:\n{''.join(seen)}")


async def test_two_stacks_run_side_by_side(stack: Stack, ada: Person, directory: Path) -> None:
    async with running_stack(directory, postgres_settings=SPEED) as other, httpx.AsyncClient() as http:
        assert other.supabase_url != stack.supabase_url
        assert other.cluster.port != stack.cluster.port
        credentials = {"email": ada.email, "password": ada.password}
        answers = [
            await http.post(
                f"{each.supabase_url}/auth/v1/token?grant_type=password",
                headers={"apikey": each.publishable_key},
                json=credentials,
            )
            for each in (stack, other)
        ]
    assert [answer.status_code for answer in answers] == [200, 400]


async def test_one_directory_holds_one_stack(stack: Stack) -> None:
    with pytest.raises(StackError, match=f"is in use by process {os.getpid()}; set LOCAL_DIR"):
        async with running_stack(stack.directory):
            pass


async def test_a_signal_stops_every_process(directory: Path) -> None:
    async with supervisor("tests.scripts.supervisor", str(directory)) as process:
        await line_with(process, "ready")
        assert len(processes_of(directory)) > 3
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert not processes_of(directory)


@pytest.mark.parametrize("milestone", ["postgres-*/data/postmaster.pid", "logs/gateway.log"])
async def test_a_signal_during_the_start_leaves_nothing_broken(directory: Path, milestone: str) -> None:
    async with supervisor("tests.scripts.supervisor", str(directory)) as process:
        await until(lambda: list(directory.glob(milestone)) or process.returncode is not None)
        assert process.returncode is None, (await process.communicate())[0].decode()
        process.send_signal(signal.SIGINT)
        await process.wait()
    assert not processes_of(directory)
    async with running_stack(directory, postgres_settings=SPEED) as again:
        assert again.supabase_url


async def test_a_first_start_makes_everything_from_nothing(empty_directory: Path) -> None:
    async with running_stack(empty_directory, postgres_settings=SPEED) as fresh:
        with fresh.cluster.connect("voice_clone_service") as connection:
            assert connection.execute(
                "select to_regclass('public.voice_clone_attempts') is not null"
            ).fetchone() == (True,)
        async with httpx.AsyncClient(base_url=fresh.supabase_url) as http:
            headers = {"authorization": f"Bearer {fresh.secret_key}"}
            buckets = await http.get("/storage/v1/bucket/", headers=headers)
    limits = {bucket["id"]: bucket["file_size_limit"] for bucket in buckets.json()}
    assert limits["voice-samples"] == 10 * 1024 * 1024
    assert stat.S_IMODE((empty_directory / "secrets.json").stat().st_mode) == 0o600


async def test_a_child_that_fails_is_named_with_the_end_of_its_log(stack: Stack) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    child = await stack.processes.start("unlucky", command, {}, cwd=ROOT)
    with pytest.raises(Exception, match=r"(?s)unlucky ended with code 1.*no such luck"):
        await child.await_output("never said")
    await stack.processes.stop(child)


async def test_dev_starts_everything_and_says_who_to_sign_in_as(directory: Path) -> None:
    port = free_port()
    wishes = {"LOCAL_DIR": str(directory), "COLUMNS": "200", "PORT": str(port)}
    async with supervisor("scripts", "dev", **wishes) as process:
        await line_with(process, "an acoustic match")
        password = (await line_with(process, "Sign in as")).split("password")[1].strip()
        await line_with(process, "Ctrl-C")
        description = msgspec.json.decode((directory / "stack.json").read_bytes(), type=dict[str, str])
        assert stat.S_IMODE((directory / "stack.json").stat().st_mode) == 0o600
        async with httpx.AsyncClient() as http:
            signed_in = await http.post(
                f"{description['supabase_url']}/auth/v1/token?grant_type=password",
                headers={"apikey": description["publishable_key"]},
                json={"email": "demo@likeness.local", "password": password},
            )
            headers = {"authorization": f"Bearer {signed_in.json()['access_token']}"}
            voices = await http.get(f"{description['api_url']}/api/voices", headers=headers)
            assert voices.status_code == 200, voices.text
            assert (description["api_url"], description["demo_password"]) == (
                f"http://127.0.0.1:{port}", password,
            )  # fmt: skip
            await line_with(process, "GET /api/voices")
            assert (await http.get(f"{description['simulator_url']}/_control/state")).status_code < 500
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert not processes_of(directory)
    assert not (directory / "stack.json").exists(), "nobody finds an address that is gone"


def is_service(pid: int) -> bool:
    """The process that was started, and not its worker, which has the same command."""
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    commands = [Path(f"/proc/{each}/cmdline").read_bytes() for each in (pid, parent)]
    return [b"-m\0backend\0" in each for each in commands] == [True, False]


async def test_dev_starts_a_part_again_that_was_killed(directory: Path) -> None:
    async with supervisor("scripts", "dev", LOCAL_DIR=str(directory), COLUMNS="200") as process:
        await line_with(process, "Ctrl-C")
        address = msgspec.json.decode((directory / "stack.json").read_bytes(), type=dict[str, str])
        service = next(each for each in processes_of(directory) if is_service(each))
        os.kill(service, signal.SIGKILL)
        said = await line_with(process, "started again")
        assert said.startswith("service ended with code -9; started again as process ")
        async with httpx.AsyncClient() as http, asyncio.timeout(60):
            while True:
                try:
                    ready = await http.get(f"{address['api_url']}/health/ready")
                    if ready.status_code == 200:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert not processes_of(directory)


async def test_a_part_that_ends_again_and_again_is_a_failure(stack: Stack) -> None:
    child = await stack.processes.start(
        "unlucky", [sys.executable, "-c", "raise SystemExit(3)"], {}, cwd=ROOT
    )
    said: list[str] = []
    with pytest.raises(ProcessError, match="unlucky ended with code 3, again"):
        await stack.processes.keep_running(said.append)
    assert len(said) == MOST_RESTARTS
    await stack.processes.stop(child)


async def test_a_killed_dev_leaves_no_process_and_starts_again(directory: Path) -> None:
    async with supervisor("scripts", "dev", LOCAL_DIR=str(directory)) as process:
        await line_with(process, "Ctrl-C")
        storage = directory / "storage"
        (storage / "unfinished.part").write_bytes(b"left by an upload")
        async with unfinished_request(directory):
            process.kill()
            await process.wait()
            # Sooner than a service would give up draining; no process waits for a client any more.
            await until(lambda: not processes_of(directory), seconds=DRAIN_SECONDS * 0.75)
    async with running_stack(directory, postgres_settings=SPEED):
        assert not list(storage.iterdir())
