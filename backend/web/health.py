"""Health checks: is the process alive, and are the services that it needs available?"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from litestar import Controller, Response, get
from litestar.di import NamedDependency

Probe = Callable[[], Awaitable[str]]
Probes = Mapping[str, Probe]  # by service, such as `database`; each returns "ok" or an error code


class HealthController(Controller):
    path = "/health"
    tags = ("health",)

    @get("/live")
    async def live(self) -> dict[str, str]:
        return {"status": "ok"}

    @get("/ready")
    async def ready(self, probes: NamedDependency[Probes]) -> Response[dict[str, str]]:
        """200 when every service is available, else 503; both with the state of each."""
        states = dict(zip(probes, await asyncio.gather(*(probe() for probe in probes.values())), strict=True))
        ready = set(states.values()) == {"ok"}
        return Response(
            {"status": "ok" if ready else "unavailable", **states}, status_code=200 if ready else 503
        )
