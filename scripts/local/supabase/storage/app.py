"""The Storage server, wired."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response, Router, get
from litestar.config.cors import CORSConfig
from litestar.di import Provide
from litestar.exceptions import HTTPException

from scripts.local.supabase.storage.buckets import BucketsController
from scripts.local.supabase.storage.database import create_pool, run
from scripts.local.supabase.storage.errors import LocalStorageError
from scripts.local.supabase.storage.files import ObjectFiles
from scripts.local.supabase.storage.objects import ObjectsController
from scripts.local.supabase.storage.server import Server, StorageSettings
from scripts.local.supabase.storage.tokens import SERVICE, RequestUser, identify
from scripts.local.supabase.storage.unread_bodies import DrainBody

logger = logging.getLogger(__name__)

PREFIX = "/storage/v1"


@get("/status")
async def status() -> None:
    """Answers while the server does."""


def create_storage(settings: StorageSettings) -> Litestar:
    pool = create_pool(settings.database_url)
    server = Server(pool=pool, files=ObjectFiles(Path(settings.root)), keys=settings.keys)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with pool:
            rows = await run(pool, SERVICE, "storage.object.list", "list_versions")
            server.files.sweep({row["version"] for row in rows})
            yield

    def caller(request: Request[Any, Any, Any]) -> RequestUser | None:
        return identify(settings.keys, request.headers.get("authorization"), request.headers.get("apikey"))

    app = Litestar(
        [Router(PREFIX, route_handlers=[status, ObjectsController, BucketsController])],
        lifespan=[lifespan],
        dependencies={
            "server": Provide(lambda: server, sync_to_thread=False),
            "caller": Provide(caller, sync_to_thread=False),
        },
        exception_handlers={LocalStorageError: refuse, HTTPException: refuse_http, Exception: fail},
        cors_config=CORSConfig(),  # any origin; the gateway answers preflights
        request_max_body_size=None,  # a bucket's own limit is kept while streaming
        openapi_config=None,
        logging_config=None,
    )
    app.asgi_handler = DrainBody(app.asgi_handler)
    return app


def refuse(_: Request[Any, Any, Any], error: LocalStorageError) -> Response[Any]:
    return Response(error.body, status_code=error.http_status)


def refuse_http(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Routes that are not there, and the like."""
    body = {
        "statusCode": str(error.status_code),
        "error": "Not found" if error.status_code == 404 else "InvalidRequest",
        "message": error.detail,
        "code": "InvalidRequest",
    }
    return Response(body, status_code=error.status_code)


def fail(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return refuse(request, LocalStorageError("InternalError"))
