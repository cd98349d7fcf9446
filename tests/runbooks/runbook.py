"""A runbook, followed as an operator would who pastes its commands.

Its commands are in blocks of `sh` and `sql`; a block of `text` after one shows what it prints. A block of
`dotenv` has settings of the service. No command gets a database password, unless the test gives it all of
the service's own settings.
"""

import asyncio
import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from string import Template
from textwrap import dedent

from msgspec import Struct

from scripts.migrations import ROOT
from tests.end_to_end.conftest import Product
from tests.preloaded import command

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
OPERATORS = ("SUPABASE_URL", "SUPABASE_SECRET_KEY", "SERVICE_URL", "INTERNAL_TOKEN")
# What differs from run to run, and the lines of tables, whose lengths follow from it.
MASKS = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?(\+00(:00)?|Z)?", "<time>"),
    (r"\b[0-9a-f]{12,64}\b", "<hash>"),
    (r"\b\d+ (bytes|files|persons)\b", "<amount>"),
    (r"\S*/(?=\w+\.zip)", ""),
    (r"[─-╿+-]{2,}|[│┃|]", " "),
    (r"[^\S\n]+", " "),
)


class Block(Struct):
    """`shown` is what it prints, empty where the runbook does not say."""

    section: str
    language: str
    text: str
    shown: str = ""
    is_followed: bool = False


def read(name: str) -> list[Block]:
    _, *parts = HEADING.split((ROOT / "docs" / "runbooks" / f"{name}.md").read_text())
    found: list[Block] = []
    for section, body in zip(parts[::2], parts[1::2], strict=True):
        for language, text in FENCE.findall(body):
            if language == "text":
                found[-1].shown = dedent(text)
            else:
                found.append(Block(section, language, dedent(text)))
    return found


def masked(output: str) -> list[str]:
    """Its lines."""
    for pattern, mask in MASKS:
        output = re.sub(pattern, mask, output)
    return [line.strip() for line in output.splitlines() if line.strip()]


def is_shown(shown: list[str], output: list[str]) -> bool:
    """`…` stands for lines that are left out."""
    pattern = "".join(r"(.*\n)*" if line == "…" else re.escape(line) + r"\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in output)) is not None


class Runbook:
    """`values`: what stands in the runbook, and what this run has in its place."""

    def __init__(self, name: str, product: Product) -> None:
        self.blocks = read(name)
        self.product = product
        self.values: dict[str, str] = {}
        self.folder = product.stack.directory / name
        self.folder.mkdir(exist_ok=True)

    def settings(self, section: str) -> dict[str, str]:
        """Those that the section says to set."""
        lines = [
            line for block in self._of(section, "dotenv") for line in shlex.split(block.text, comments=True)
        ]
        return dict(self._replaced(line).split("=", 1) for line in lines)

    async def follow(self, section: str, *codes: int, settings: Mapping[str, str] | None = None) -> list[str]:
        """What each command of the section prints. `codes` are their exit codes, each 0 if left out.

        With `settings`, the commands have those of the service.
        """
        env = (
            self.environment() if settings is None else {**os.environ, **self.product.environment(**settings)}
        )
        expected = iter(codes)
        outputs: list[str] = []
        for block in self._of(section, "sh", "sql"):
            commands = [block.text] if block.language == "sql" else lines(block.text)
            printed: list[str] = []
            for each in commands:
                run = self._sql if block.language == "sql" else self._shell
                done = await asyncio.to_thread(run, self._replaced(each), {**env, "COLUMNS": "200"})
                assert done.returncode == next(expected, 0), f"{each}\n{done.stdout}{done.stderr}"
                printed.append(done.stdout)
            outputs += printed
            shown, output = masked(self._replaced(block.shown)), masked("".join(printed))
            assert not shown or is_shown(shown, output), "".join(printed)
        return outputs

    def assert_followed(self) -> None:
        left = [block.text for block in self.blocks if not block.is_followed]
        assert left == [], "no test runs these"

    def environment(self) -> dict[str, str]:
        """What an operator has: no password of the database."""
        given = self.product.environment()
        return {
            **{name: os.environ[name] for name in ("PATH", "HOME", "ENV_FILE") if name in os.environ},
            **{name: given[name] for name in OPERATORS},
        }

    def _of(self, section: str, *languages: str) -> list[Block]:
        found = [
            each for each in self.blocks if each.section.startswith(section) and each.language in languages
        ]
        assert found, f"no section {section}"
        for block in found:
            block.is_followed = True
        return found

    def _replaced(self, text: str) -> str:
        for written, actual in self.values.items():
            text = text.replace(written, actual)
        return text

    def _sql(self, text: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """As the owner of the database."""
        cluster = self.product.stack.cluster
        arguments = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", cluster.dsn("postgres")]
        return subprocess.run(arguments, input=text, env=env, capture_output=True, text=True, check=False)

    def _shell(self, text: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        words = shlex.split(text, comments=True)
        if words[0] != "likeness":
            return subprocess.run(
                ["bash", "-c", text],
                cwd=self.folder, env=env, capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
        *words, target = [*words, ""] if ">" not in words else [*words[:-2], words[-1]]
        files = [
            each if not each.endswith((".json", ".zip")) else str(self.folder / each) for each in words[1:]
        ]
        done = command(*(Template(each).substitute(env) for each in files), env=env)
        if target:
            (self.folder / target).write_text(done.stdout)
        return done


def lines(text: str) -> list[str]:
    """The commands of a block, one a line unless a backslash continues it."""
    return [line for line in text.replace("\\\n", "").splitlines() if shlex.split(line, comments=True)]
