"""A small HTTP server of the consumers: /metrics for Prometheus, /health for whoever restarts the process."""

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from backend.telemetry.measures import CONTENT_TYPE, exposition
from queue_consumers.presence import Presence
from queue_consumers.settings import ConsumerSettings

log = structlog.get_logger("queue_consumers")

STOP_SECONDS = 1.0  # for a scrape that runs when the process stops


@asynccontextmanager
async def serving_metrics(settings: ConsumerSettings, presence: Presence) -> AsyncIterator[None]:
    """Nothing where METRICS_PORT is 0. A port that is taken is logged: consuming goes before measuring."""
    if not settings.metrics_port:
        yield
        return
    runner = web.AppRunner(application(settings, presence), access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    address = f"{settings.metrics_host}:{settings.metrics_port}"
    try:
        await web.TCPSite(runner, settings.metrics_host, settings.metrics_port).start()
        log.info("serving_metrics", address=address)
    except OSError as error:
        log.error("metrics_not_served", address=address, error=error.strerror or str(error))
    try:
        yield
    finally:
        await runner.cleanup()


def application(settings: ConsumerSettings, presence: Presence) -> web.Application:
    async def show_metrics(request: web.Request) -> web.Response:
        if settings.metrics_token:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), settings.metrics_token.encode()):
                return web.Response(status=401, headers={"www-authenticate": "Bearer"})
        return web.Response(body=exposition(), headers={"content-type": f"{CONTENT_TYPE}; charset=utf-8"})

    async def show_health(_: web.Request) -> web.Response:
        """503 while the process cannot write to the database that it is alive."""
        state = "unavailable" if presence.is_failing else "ok"
        return web.json_response({"status": state}, status=503 if presence.is_failing else 200)

    app = web.Application(client_max_size=0)
    app.router.add_get("/metrics", show_metrics)
    app.router.add_get("/health", show_health)
    return app
