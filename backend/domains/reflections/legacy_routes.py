"""Internal routes for outbox events and conversation webhooks of an older application."""

from typing import Any, Literal
from uuid import UUID

from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Struct

from backend.context import AppContext
from backend.domains.reflections.legacy_events import LegacyEvent, Source, take_event
from backend.web.authentication import require_internal


class LegacyAnswer(Struct, frozen=True, kw_only=True):
    """The decision on an event. Send a refused event again only when the reason no longer applies."""

    outcome: Literal["received", "accepted", "refused", "skipped"]
    attempt_id: UUID | None
    code: str | None
    message: str | None


class LegacyController(Controller):
    path = "/internal"
    guards = (require_internal,)
    include_in_schema = False

    @post("/voice-clone-outbox", status_code=200)
    async def take_outbox_event(
        self,
        data: JSONBody[LegacyEvent],
        request: Request[Any, Any, Any],
        context: NamedDependency[AppContext],
    ) -> LegacyAnswer:
        """A row of `voice_clone_outbox`: clone this recording for this reflection."""
        return await answer(context, "voice_clone_outbox", data, request)

    @post("/conversation-ended", status_code=200)
    async def take_conversation(
        self,
        data: JSONBody[LegacyEvent],
        request: Request[Any, Any, Any],
        context: NamedDependency[AppContext],
    ) -> LegacyAnswer:
        """A conversation ended: its recording, if any, becomes the sample of a reflection without a voice."""
        return await answer(context, "conversation_ended", data, request)


async def answer(
    context: AppContext, source: Source, event: LegacyEvent, request: Request[Any, Any, Any]
) -> LegacyAnswer:
    decision = await take_event(context, source, event, await request.json())
    return LegacyAnswer(
        outcome=decision.outcome,
        attempt_id=decision.attempt_id,
        code=decision.code,
        message=decision.message,
    )
