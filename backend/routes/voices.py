"""The caller's voices."""

from datetime import datetime
from uuid import UUID

from litestar import Controller, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from backend.auth import Caller, require_user
from backend.errors import NotFound
from backend.parts import Parts
from backend.sql import load_queries

queries = load_queries("voices")
PAGE = 100


class Voice(Struct, frozen=True, kw_only=True):
    """An enrolled voice, with where its provider keeps it."""

    voice_id: UUID
    attempt_id: UUID
    name: str
    language: str
    provider: str
    region: str
    provider_voice_id: str
    target_model: str
    created_at: datetime


class VoicesController(Controller):
    path = "/api/voices"
    guards = (require_user,)
    tags = ("voices",)

    @get()
    async def list_voices(
        self, caller: NamedDependency[Caller], parts: NamedDependency[Parts], limit: FromQuery[int] = PAGE
    ) -> list[Voice]:
        """Newest first."""
        parameters = {"limit": max(1, min(limit, PAGE))}
        return await parts.database.as_caller(caller).fetch_all(queries.all, parameters, row=Voice)

    @get("/{voice_id:uuid}")
    async def get_voice(
        self, voice_id: FromPath[UUID], caller: NamedDependency[Caller], parts: NamedDependency[Parts]
    ) -> Voice:
        return await find_voice(parts, caller, voice_id)

    @delete("/{voice_id:uuid}")
    async def delete_voice(
        self, voice_id: FromPath[UUID], caller: NamedDependency[Caller], parts: NamedDependency[Parts]
    ) -> None:
        """Soft: the voice stays at its provider. Reflections that spoke with it have no voice from now on."""
        parameters = {"voice": voice_id, "user": caller.user_id}
        if not await parts.database.fetch_value(queries.remove, parameters, of=bool):
            raise NotFound("There is no such voice.")


async def find_voice(parts: Parts, caller: Caller, voice_id: UUID) -> Voice:
    voice = await parts.database.as_caller(caller).fetch_one(queries.by_id, {"voice": voice_id}, row=Voice)
    if voice is None:
        raise NotFound("There is no such voice.")
    return voice
