"""`python -m scripts …`: operator commands."""

import typer

from scripts.demo import demo
from scripts.dev import dev
from scripts.migrate import migrate
from scripts.simulator.command import simulator

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(demo)
app.command()(dev)
app.command()(migrate)
app.command()(simulator)

if __name__ == "__main__":
    app()
