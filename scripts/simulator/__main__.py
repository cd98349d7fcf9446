import typer

from scripts.simulator.command import simulator

typer.run(simulator)
