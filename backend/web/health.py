"""Health checks: is the process alive, and are the services that it needs available?"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from backend.web.contract import NO_DATABASE

Probe = Callable[[], Awaitable[str]]


class Probes(Struct, frozen=True):
    """By part, such as `database`. Each probe returns "ok" or what is the matter."""

    required: Mapping[str, Probe]
    reported: Mapping[str, Probe]  # without which requests are served all the same


UNREADY = ResponseSpec(dict[str, str], description="A part is unavailable.", generate_examples=False)


class HealthController(Controller):
    path = "/health"
    tags = ("health",)

    @get("/live", opt={NO_DATABASE: True})
    async def check_liveness(self) -> dict[str, str]:
        """200 while the process runs."""
        return {"status": "ok"}

    @get("/ready", responses={503: UNREADY}, opt={NO_DATABASE: True})
    async def check_readiness(self, probes: NamedDependency[Probes]) -> Response[dict[str, str]]:
        """200 when every required part is available, else 503; both with the state of each part."""
        parts = {**probes.required, **probes.reported}
        states = dict(zip(parts, await asyncio.gather(*(probe() for probe in parts.values())), strict=True))
        ready = all(states[part] == "ok" for part in probes.required)
        return Response(
            {"status": "ok" if ready else "unavailable", **states}, status_code=200 if ready else 503
        )
