"""Both processes as compose.yaml runs them: what they can do there, and what their health checks say."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import psycopg
import pytest

from scripts.local.main_job import run_main_job
from scripts.local.product import service_settings
from scripts.local.sample import speak_sample
from scripts.local.supabase.processes import Child
from scripts.local.supabase.stack import Stack
from scripts.migrations import ROOT
from tests.preloaded import command
from tests.scripts.contained import can_contain, contained

REPORT = """
import asyncio
from backend.app.sandbox_report import report_sandbox

asyncio.run(report_sandbox())
"""
NOWHERE = {"DATABASE_URL": "postgresql://voice_clone_service:s@127.0.0.1:1/postgres"}


@pytest.fixture(scope="module")
def environment(stack: Stack) -> dict[str, str]:
    """As `.env` and compose.yaml set it, without the files of the certificate, which only this user reads."""
    stack.api_url = f"http://127.0.0.1:{stack.ports.take()}"
    stack.simulator_url = "http://127.0.0.1:1"
    settings = service_settings(stack, "local")
    return {**settings, "C2PA_CERTIFICATE_FILE": "", "C2PA_KEY_FILE": "", "HOST": "0.0.0.0", "HOME": "/tmp"}  # noqa: S104, S108


async def health(process: str, env: Mapping[str, str], **changes: str) -> tuple[int, str]:
    """The exit code of `likeness health`, and its one line."""
    done = await asyncio.to_thread(command, "health", process, env={**env, **changes})
    (line,) = (done.stdout + done.stderr).splitlines()
    return done.returncode, line


async def test_without_a_service_its_health_check_fails_and_says_where_it_asked(
    environment: dict[str, str],
) -> None:
    code, line = await health("service", environment, HOST="127.0.0.1", PORT="1")
    assert (code, line) == (
        1,
        "service: http://127.0.0.1:1/health/ready does not answer: Connection refused",
    )


async def test_without_consumers_their_health_check_fails_and_names_this_host(
    environment: dict[str, str], stack: Stack
) -> None:
    with psycopg.connect(stack.cluster.dsn()) as superuser:
        superuser.execute("delete from voice_clone.consumers")
        superuser.execute("select voice_clone.report_consumer(gen_random_uuid(), 'other', '{q}', false)")
    code, line = await health("consumers", environment)
    assert (code, line) == (1, f"consumers: none of {socket.gethostname()} has reported in the last minute")


async def test_a_missing_setting_and_a_database_that_is_away_are_named(environment: dict[str, str]) -> None:
    assert await health("consumers", environment, DATABASE_URL="") == (
        1, "consumers: DATABASE_URL is missing or wrong",
    )  # fmt: skip
    code, line = await health("consumers", environment, **NOWHERE)
    assert code == 1
    assert "Connection refused" in line
    assert await health("service", environment, PORT="high") == (
        1, "service: HOST, PORT or another setting of the service is missing or wrong",
    )  # fmt: skip


class Containers:
    """The two processes, in containers."""

    def __init__(self, service: Child, consumers: Child, root: Path) -> None:
        self.service = service
        self.consumers = consumers
        self._root = root

    async def health(self, process: str, env: Mapping[str, str]) -> tuple[int, str]:
        """As the engine runs it: inside."""
        inside = contained(self._root, sys.executable, "-m", "scripts", "health", process)
        done = await asyncio.to_thread(
            subprocess.run,
            inside,
            env=os.environ | env,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
async def containers(
    stack: Stack, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Containers]:
    if not can_contain():
        pytest.skip("only root on Linux can stand in for an engine")
    root = tmp_path_factory.mktemp("root")

    async def start(name: str, started: str) -> Child:
        inside = contained(root, sys.executable, "-m", "scripts", started)
        return await stack.processes.start(name, inside, environment, cwd=ROOT)

    service, consumers = await start("contained-service", "serve"), await start("contained-consumers", "work")
    try:
        await service.await_url(f"{stack.api_url}/health/ready")
        await consumers.await_output("listening")
        yield Containers(service, consumers, root)
    finally:
        for child in (consumers, service):
            await stack.processes.stop(child, grace_seconds=30)


async def test_on_a_read_only_root_without_rights_a_voice_is_cloned_and_speaks(
    containers: Containers, stack: Stack, tmp_path: Path
) -> None:
    sample = tmp_path / "sample.wav"
    transcript = speak_sample(sample)
    done = await run_main_job(stack, "local", sample, transcript, tmp_path / "speech.wav")
    assert done.launchable
    assert (tmp_path / "speech.wav").stat().st_size > 10_000


async def test_in_a_container_every_restriction_of_the_sandbox_holds_that_holds_outside(
    containers: Containers, environment: dict[str, str]
) -> None:
    outside = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", REPORT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    inside = containers.service.output()
    assert "sandbox_unusable" not in inside
    assert ("sandbox_degraded" in inside) == ("sandbox_degraded" in outside.stdout + outside.stderr)


async def test_the_health_checks_of_both_processes_pass_inside(
    containers: Containers, environment: dict[str, str]
) -> None:
    assert await containers.health("service", environment) == (0, "service: ok\n")
    assert await containers.health("consumers", environment) == (0, "consumers: ok\n")


async def test_a_service_without_its_database_is_unhealthy_by_the_name_of_the_part(
    containers: Containers, environment: dict[str, str], stack: Stack
) -> None:
    with psycopg.connect(stack.cluster.dsn("postgres"), autocommit=True) as owner:
        owner.execute("alter function voice_clone.schema_version() rename to hidden_version")
        try:
            assert await containers.health("service", environment) == (1, "service: database not_migrated\n")
        finally:
            owner.execute("alter function voice_clone.hidden_version() rename to schema_version")


async def test_stopped_consumers_are_unhealthy_at_once(
    containers: Containers, environment: dict[str, str], stack: Stack
) -> None:
    await stack.processes.stop(containers.consumers, grace_seconds=30)
    code, line = await containers.health("consumers", environment)
    assert (code, "has reported" in line) == (1, True)
