"""The guide's blocks, and a shell that runs them one after the other as a person would who pastes them."""

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

BLOCK = re.compile(r"^```sh *(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
SECONDS = 300


class Block(Struct, frozen=True):
    """Commands of a chapter.

    `kind` is empty, `values` (what a reader replaces), `engine` (it needs one), `wait` (repeated until it
    names no voice) or `stop` (run without the two processes).
    """

    chapter: str
    kind: str
    text: str


def blocks(guide: Path) -> list[Block]:
    return list(read(guide.read_text()))


def read(text: str) -> Iterator[Block]:
    _, *parts = HEADING.split(text)
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        for kind, block in BLOCK.findall(body):
            yield Block(heading, kind, block)


def assigned(block: Block) -> set[str]:
    return set(re.findall(r"^(\w+)=", block.text, re.MULTILINE))


class Shell:
    """Keeps folder and variables from one block to the next. A command that fails ends its block."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._state = folder / "shell-state"
        self._state.write_text(f"cd {shlex.quote(str(folder))}\n")
        self.environment = dict(environment)
        self.folder = folder

    def run(self, text: str) -> str:
        """What it prints. AssertionError with all of it where a command fails."""
        done = self.attempt(text)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        where = re.findall(r"^cd '(.*)'$", self._state.read_text(), re.MULTILINE)
        self.folder = Path(where[-1])
        return done.stdout

    def attempt(self, text: str) -> subprocess.CompletedProcess[str]:
        """The same, whatever its exit code is; a failure leaves folder and variables as they were."""
        script = "\n".join([
            "set -euo pipefail", f". {shlex.quote(str(self._state))}", "set -a", text,
            f'{{ export -p; echo "umask $(umask)"; echo "cd \'$PWD\'"; }} > {shlex.quote(str(self._state))}',
        ])  # fmt: skip
        return subprocess.run(
            ["bash", "-c", script],
            env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip

    def variable(self, name: str) -> str:
        return self.run(f'printf %s "${name}"')
