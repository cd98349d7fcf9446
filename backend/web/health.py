"""Health checks: is the process alive, and are the services that it needs available?"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from msgspec import Struct

Probe = Callable[[], Awaitable[str]]


class Probes(Struct, frozen=True):
    """By part, such as `database`. Each probe returns "ok" or what is the matter."""

    required: Mapping[str, Probe]
    reported: Mapping[str, Probe]  # without which requests are served all the same


class HealthController(Controller):
    path = "/health"
    tags = ("health",)

    @get("/live")
    async def live(self) -> dict[str, str]:
        return {"status": "ok"}

    @get("/ready")
    async def ready(self, probes: NamedDependency[Probes]) -> Response[dict[str, str]]:
        """200 when every required part is available, else 503; both with the state of each part."""
        parts = {**probes.required, **probes.reported}
        states = dict(zip(parts, await asyncio.gather(*(probe() for probe in parts.values())), strict=True))
        ready = all(states[part] == "ok" for part in probes.required)
        return Response(
            {"status": "ok" if ready else "unavailable", **states}, status_code=200 if ready else 503
        )
