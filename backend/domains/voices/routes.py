"""The caller's voices."""

from uuid import UUID

from litestar import Controller, Response, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.context import AppContext
from backend.database.caller import Caller
from backend.domains.voices.voices import Voice, find_voice, queries
from backend.errors import NotFound
from backend.web.answers import Cursor, Limit, listed
from backend.web.authentication import require_user
from backend.web.contract import CODES
from backend.web.error_codes import ErrorCode as E
from backend.web.pages import PAGE, Page, time_place


class VoicesController(Controller):
    path = "/api/voices"
    guards = (require_user,)
    tags = ("voices",)

    @get()
    async def list_voices(
        self,
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        limit: Limit = PAGE,
        cursor: Cursor = None,
    ) -> Response[list[Voice]]:
        """Newest first, by pages."""
        page = Page.of(cursor, limit)
        rows = await context.database.as_caller(caller).fetch_all(queries.all, page.parameters, row=Voice)
        return listed(*page.cut(rows, lambda voice: time_place(voice.created_at, voice.voice_id)))

    @get("/{voice_id:uuid}", opt={CODES: [E.NOT_FOUND]})
    async def get_voice(
        self, voice_id: FromPath[UUID], caller: NamedDependency[Caller], context: NamedDependency[AppContext]
    ) -> Voice:
        """One voice, with its provider's metadata."""
        return await find_voice(context, caller, voice_id)

    @delete("/{voice_id:uuid}", opt={CODES: [E.NOT_FOUND]})
    async def delete_voice(
        self, voice_id: FromPath[UUID], caller: NamedDependency[Caller], context: NamedDependency[AppContext]
    ) -> None:
        """Soft: silent at once, also where it is used as a custom voice; removed after its retention."""
        parameters = {"voice": voice_id, "user": caller.user_id}
        if not await context.database.fetch_value(queries.remove, parameters, of=bool):
            raise NotFound("There is no such voice.")
