import typer

from scripts.local.simulator.command import simulator

typer.run(simulator)
