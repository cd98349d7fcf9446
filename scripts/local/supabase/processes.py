"""Child processes: started with a log, awaited until they are ready, and never left behind."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Never, Protocol

import httpx

from scripts.parent_death import die_with_parent

READY_SECONDS = 60
POLL_SECONDS = 0.02
MOST_RESTARTS, RESTART_SECONDS = 5, 60.0


class Process(Protocol):
    """What is asked of a started process; `asyncio.subprocess.Process` has it."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


Launch = Callable[[BinaryIO], Coroutine[Any, Any, Process]]


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

    def __init__(self, name: str, log: Path, launch: Launch) -> None:
        self.name = name
        self.log = log
        self.process: Process
        self._launch = launch
        self._log_start = 0

    async def start(self) -> None:
        """In a session of its own, so that Ctrl-C reaches the supervisor alone; again where it has ended."""
        with self.log.open("ab") as output:
            self._log_start = output.tell()  # the output of earlier runs is skipped
            self.process = await self._launch(output)

    @property
    def pid(self) -> int:
        return self.process.pid

    def skip_output(self) -> None:
        """What it has written until now is no output of this run any more."""
        self._log_start = self.log.stat().st_size

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
        """Start a child whose output goes to the log of its name."""

        def launch(output: BinaryIO) -> Coroutine[Any, Any, Process]:
            return asyncio.create_subprocess_exec(
                *map(str, command),
                env=os.environ | env,
                cwd=cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

        return await self.launch(name, launch)

    async def launch(self, name: str, launch: Launch) -> Child:
        child = Child(name, self.logs / f"{name}.log", launch)
        await child.start()
        self.children.append(child)
        return child

    async def stop(self, child: Child, grace_seconds: float = 10) -> None:
        """Stop one on purpose: `keep_running` does not start it again."""
        if child in self.children:
            self.children.remove(child)
        await child.stop(grace_seconds)

    async def stop_all(self) -> None:
        while self.children:
            await self.stop(self.children[-1], grace_seconds=30)

    async def keep_running(self, say: Callable[[str], None]) -> Never:
        """Start again each child that ends and was not stopped by `stop`, and say so in a line.

        Raises:
            ProcessError: one ended MOST_RESTARTS times within RESTART_SECONDS.
        """
        clock = asyncio.get_running_loop().time
        restarts: dict[str, list[float]] = {}
        while True:
            for child in list(self.children):
                code = child.process.returncode
                if code is None:
                    continue
                recent = [at for at in restarts.get(child.name, []) if clock() - at < RESTART_SECONDS]
                if len(recent) >= MOST_RESTARTS:
                    raise child.failure(f"ended with code {code}, again")
                restarts[child.name] = [*recent, clock()]
                await child.start()
                again = f"started again as process {child.pid}, log {child.log}"
                say(f"{child.name} ended with code {code}; {again}")
            await asyncio.sleep(0.2)
