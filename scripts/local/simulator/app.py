"""The simulator as one handler: `/{vendor}/…` to its module, `/_control/…` to the control endpoint."""

from collections.abc import Awaitable, Callable

import httpx

from scripts.local.simulator.cartesia import Cartesia
from scripts.local.simulator.control import Control
from scripts.local.simulator.elevenlabs import ElevenLabs
from scripts.local.simulator.http import Handler, Request, Response, json_response
from scripts.local.simulator.qwen import Qwen
from scripts.local.simulator.reference import Reference
from scripts.local.simulator.state import SimulatorState
from scripts.local.simulator.twilio import Twilio

Surface = Callable[[Request, str], Awaitable[Response]]


def create_simulator(state: SimulatorState, client: httpx.AsyncClient) -> Handler:
    """`client` fetches the samples that vendors are given by URL, and sends callbacks."""
    twilio = Twilio(state, client)
    surfaces: dict[str, Surface] = {
        "qwen": Qwen(state, client).handle,
        "elevenlabs": ElevenLabs(state).handle,
        "cartesia": Cartesia(state).handle,
        "pipecat": Reference(state, "pipecat", needs_key=False).handle,
        "modal": Reference(state, "modal", needs_key=True).handle,
        "twilio": twilio.handle,
        "_control": Control(state, twilio).handle,
    }

    async def handle(request: Request) -> Response:
        name, _, rest = request.path.removeprefix("/").partition("/")
        if surface := surfaces.get(name):
            return await surface(request, f"/{rest}")
        return json_response({"simulates": sorted(surfaces)}, 404 if name else 200)

    return handle
