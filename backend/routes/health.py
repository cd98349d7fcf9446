"""Is the process alive, and could it work?"""

import asyncio

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from msgspec import Struct

from backend.database import Database
from backend.errors import AppError
from backend.sql import load_queries
from backend.storage import Storage, StorageError

queries = load_queries("health")
PATIENCE_SECONDS = 3.0  # with Storage: whoever probes waits no longer


class Readiness(Struct):
    status: str
    database: str
    storage: str


class HealthController(Controller):
    path = "/health"
    tags = ("health",)

    @get("/live")
    async def live(self) -> dict[str, str]:
        return {"status": "ok"}

    @get("/ready")
    async def ready(
        self, database: NamedDependency[Database], storage: NamedDependency[Storage]
    ) -> Response[Readiness]:
        """200 when every part answers, else 503; either way with the state of each."""
        parts = await asyncio.gather(database_state(database), storage_state(storage))
        ready = parts == ["ok", "ok"]
        return Response(
            Readiness("ok" if ready else "unavailable", *parts), status_code=200 if ready else 503
        )


async def database_state(database: Database) -> str:
    try:
        migrated = await database.fetch_value(queries.is_migrated, of=bool)
    except AppError:
        return "unreachable"
    return "ok" if migrated else "not_migrated"


async def storage_state(storage: Storage) -> str:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await storage.ping()
    except StorageError as error:
        return error.storage_code or "refused"
    except (AppError, TimeoutError):
        return "unreachable"
    return "ok"
