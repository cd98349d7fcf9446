"""`likeness …` or `python -m scripts …`: the commands. Only the called one is imported: a fast start."""

import sys
from collections.abc import Callable
from importlib import import_module

import typer

from backend.settings.env_file import read_env_file

COMMANDS = {  # name → the module that has a function of this name, with _ for -
    "attempts": "scripts.attempts",
    "bench": "scripts.local.bench.command",
    "consents": "scripts.consents",
    "dead-letters": "scripts.dead_letters",
    "demo": "scripts.local.demo",
    "dev": "scripts.local.dev",
    "doctor": "scripts.doctor.command",
    "erase": "scripts.erase",
    "export": "scripts.export",
    "health": "scripts.health",
    "import-legacy-voices": "scripts.import_legacy_voices",
    "install": "scripts.install",
    "lifecycle": "scripts.local.lifecycle",
    "migrate": "scripts.migrate",
    "orphans": "scripts.orphans",
    "reconcile": "scripts.reconcile.command",
    "recordings": "scripts.recordings",
    "retention": "scripts.retention",
    "slots": "scripts.stats",
    "stats": "scripts.stats",
    "sweep": "scripts.sweep",
    "takedown": "scripts.takedown",
    "schema": "scripts.local.schema",
    "serve": "scripts.processes",
    "simulator": "scripts.local.simulator.command",
    "uninstall": "scripts.uninstall.command",
    "verify": "scripts.verify",
    "voices": "scripts.voices",
    "work": "scripts.processes",
}
ANY_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Commands of Likeness: for operators of a deployment, and for developers in a checkout."""


def register(arguments: list[str]) -> None:
    """The command of these arguments, or all of them for help and for an unknown name."""
    called = [name for name in COMMANDS if name in arguments[:1]]
    for name in called or COMMANDS:
        try:
            app.command(name)(getattr(import_module(COMMANDS[name]), name.replace("-", "_")))
        except ModuleNotFoundError as error:
            if not COMMANDS[name].startswith("scripts.local."):
                raise
            app.command(name, context_settings=ANY_ARGUMENTS)(without_local_extra(error.name))


def without_local_extra(missing: str | None) -> Callable[[], None]:
    """The command of a developer where the packages of the extra `local` are not installed."""

    def explain() -> None:
        """Needs the packages of the extra `local`, which are not installed."""
        sys.exit(f"{missing} is not installed: pip install '.[local]' in a checkout")

    return explain


def run() -> None:
    if not COMMANDS.get("".join(sys.argv[1:2]), "").startswith(
        "scripts.local."
    ):  # those have settings of their own
        read_env_file()
    register(sys.argv[1:])
    app()


if __name__ == "__main__":
    run()
