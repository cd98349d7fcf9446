"""`python -m scripts simulator`: simulated providers, until SIGTERM or SIGINT."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated

import httpx
import typer
import uvloop

from scripts.local.simulator.app import create_simulator
from scripts.local.simulator.http import Server
from scripts.local.simulator.state import SimulatorState


def simulator(
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 54390,
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    state: Annotated[
        Path | None, typer.Option(help="Keep voices in this file, so that a restart knows them.")
    ] = None,
    instant: Annotated[
        bool, typer.Option(help="Skip decoding and answer with one stock utterance: for benchmarks.")
    ] = False,
    slots: Annotated[
        int | None, typer.Option(help="Voices an account may hold; the vendor's own number by default.")
    ] = None,
) -> None:
    """Simulate voice providers until a signal: /qwen/{region}, /elevenlabs, /cartesia, /pipecat and /modal.

    Twilio's media host is at /twilio. Faults are injected under /_control. Keys start with sk-sim- (Qwen)
    or sim- (the others). The first line printed is the address.

    Needs: the extra `local`.

    Exit codes: 0 stopped by SIGTERM or SIGINT; 2 the port is not free.

    Example: likeness simulator --port 54390 --state .local/voices.jsonl
    """
    try:
        uvloop.run(serve(host, port, SimulatorState(path=state, instant=instant, slots=slots)))
    except OSError as error:
        raise typer.BadParameter(f"cannot listen on {host}:{port}: {error.strerror}") from None


async def serve(host: str, port: int, state: SimulatorState) -> None:
    """Serve until SIGTERM or SIGINT. The first line printed is the address."""
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    async with httpx.AsyncClient(trust_env=False) as client:
        server = Server(create_simulator(state, client))
        bound = await server.start(host, port)
        sys.stdout.write(f"provider simulator: http://{host}:{bound}\n")
        sys.stdout.flush()
        await stopped.wait()
        await server.close()
