"""`python -m scripts …`: operator commands. Only the one that is called is imported, to start at once."""

import sys
from importlib import import_module

import typer

COMMANDS = {  # name → the module that has a function of this name, with _ for -
    "bench": "scripts.local.bench.command",
    "demo": "scripts.local.demo",
    "dev": "scripts.local.dev",
    "import-legacy-voices": "scripts.import_legacy_voices",
    "lifecycle": "scripts.local.lifecycle",
    "migrate": "scripts.migrate",
    "orphans": "scripts.orphans",
    "recover-stale": "scripts.recover_stale",
    "simulator": "scripts.local.simulator.command",
}

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Operator commands of Likeness."""


def register(arguments: list[str]) -> None:
    """The command of these arguments, or all of them for help and for a name that is none."""
    called = [name for name in COMMANDS if name in arguments[:1]]
    for name in called or COMMANDS:
        app.command(name)(getattr(import_module(COMMANDS[name]), name.replace("-", "_")))


if __name__ == "__main__":
    register(sys.argv[1:])
    app()
