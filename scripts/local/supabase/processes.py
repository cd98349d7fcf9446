"""Child processes: started with a log, awaited until they are ready, and never left behind."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from scripts.parent_death import die_with_parent

READY_SECONDS = 60
POLL_SECONDS = 0.02


class ProcessError(Exception):
    """A child process ended, or never became ready; the message holds the end of its log."""


def last_lines(log: Path, count: int = 20) -> str:
    """The end of a log file, for an error message."""
    if not log.exists():
        return "(no log)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])


class Child:
    """A running child; its output goes to its log."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path, log_start: int) -> None:
        self.name = name
        self.process = process
        self.log = log
        self._log_start = log_start  # the output of earlier runs is skipped

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def failure(self, what: str) -> ProcessError:
        return ProcessError(f"{self.name} {what}; the end of {self.log}:\n{last_lines(self.log)}")

    async def await_url(self, url: str) -> None:
        """Until the URL answers 200.

        Raises:
            ProcessError: it ended, or took longer than a minute.
        """

        async def answers() -> bool:
            with suppress(httpx.TransportError):
                return (await client.get(url)).status_code == 200
            return False

        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            await self._await(answers)

    async def await_output(self, text: str) -> None:
        """Until the log of this run holds the text; raises as `await_url` does."""

        async def has_text() -> bool:
            return text in self.output()

        await self._await(has_text)

    async def _await(self, is_ready: Callable[[], object]) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not await is_ready():  # pyright: ignore[reportGeneralTypeIssues]
                    if self.process.returncode is not None:
                        raise self.failure(f"ended with code {self.process.returncode}")
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            raise self.failure(f"was not ready within {READY_SECONDS} s") from error

    async def stop(self, grace_seconds: float) -> None:
        """SIGTERM, and SIGKILL when that was not enough."""
        if self.process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            async with asyncio.timeout(grace_seconds):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


class Processes:
    """The children of a stack. Leaving stops them, the last started first."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.children: list[Child] = []
        logs.mkdir(parents=True, exist_ok=True)

    async def start(
        self, name: str, command: Sequence[str | Path], env: Mapping[str, str], cwd: Path
    ) -> Child:
        """Start in a session of its own, so that Ctrl-C reaches the supervisor alone."""
        log = self.logs / f"{name}.log"
        with log.open("ab") as output:
            start = output.tell()
            process = await asyncio.create_subprocess_exec(
                *map(str, command),
                env=os.environ | env,
                cwd=cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        child = Child(name, process, log, start)
        self.children.append(child)
        return child

    async def stop(self, child: Child, grace_seconds: float = 10) -> None:
        """Stop one on purpose: `wait_for_failure` does not report it."""
        if child in self.children:
            self.children.remove(child)
        await child.stop(grace_seconds)

    async def stop_all(self) -> None:
        while self.children:
            await self.stop(self.children[-1], grace_seconds=30)

    async def wait_for_failure(self) -> None:
        """Returns never; raises ProcessError when a child ends that was not stopped by `stop`."""
        while True:
            for child in self.children:
                if child.process.returncode is not None:
                    raise child.failure(f"ended with code {child.process.returncode}")
            await asyncio.sleep(0.2)
