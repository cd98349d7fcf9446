"""The internal routes: the steps that consumers call, and the sweep and drain that a scheduler calls."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from backend.context import AppContext
from backend.database.pool import Database
from backend.errors import NotFound
from backend.lifecycle.attempts import Attempt
from backend.lifecycle.claim import StepAnswer, queries
from backend.lifecycle.cleanup import clean_up
from backend.lifecycle.draining import Drained, Drainer
from backend.lifecycle.enrollment import process_attempt
from backend.lifecycle.preview import render_preview
from backend.lifecycle.runtime_sync import sync_runtime
from backend.lifecycle.verification import record_verification, verify_attempt
from backend.web.authentication import require_internal
from backend.web.logs import log


class Delivery(Struct, frozen=True, kw_only=True, rename="camel"):
    """The message that asks for the step; archived in the transaction of its effect."""

    queue: str | None = None
    msg_id: int | None = None


class Verification(Struct, frozen=True, kw_only=True):
    """How a verification ended, learned outside; the reason is shown to the user.

    `provider_voice_id`, where given, must be the attempt's voice today: the answer is about that one alone.
    """

    verified: bool
    reason: str | None = None
    provider_voice_id: str | None = None


class Sweep(Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 500  # attempts in one run


class Drain(Struct, frozen=True, kw_only=True):
    seconds: Annotated[float, Meta(gt=0, le=300)] = 20.0


class Count(Struct, frozen=True):
    what: str
    count: int


class InternalController(Controller):
    path = "/internal"
    guards = (require_internal,)
    include_in_schema = False

    @post("/voice-clone-attempts/{attempt_id:uuid}/process", status_code=200)
    async def process(
        self, attempt_id: FromPath[UUID], data: JSONBody[Delivery], context: NamedDependency[AppContext]
    ) -> StepAnswer:
        return await process_attempt(context, attempt_id, message_id=data.msg_id)

    @post("/reflections/{reflection_id:uuid}/voice-clone-attempts/{attempt_id:uuid}/process", status_code=200)
    async def process_of_reflection(
        self,
        reflection_id: FromPath[UUID],
        attempt_id: FromPath[UUID],
        data: JSONBody[Delivery],
        context: NamedDependency[AppContext],
    ) -> StepAnswer:
        if not await context.database.fetch_value(
            queries.is_for_reflection, {"attempt": attempt_id, "reflection": reflection_id}, of=bool
        ):
            raise NotFound("There is no such attempt for this reflection.")
        return await process_attempt(context, attempt_id, message_id=data.msg_id)

    @post("/voice-clone-attempts/{attempt_id:uuid}/verify", status_code=200)
    async def verify(
        self, attempt_id: FromPath[UUID], data: JSONBody[Delivery], context: NamedDependency[AppContext]
    ) -> StepAnswer:
        return await verify_attempt(context, attempt_id, message_id=data.msg_id)

    @post("/voice-clone-attempts/{attempt_id:uuid}/verification", status_code=200)
    async def record_verification(
        self, attempt_id: FromPath[UUID], data: JSONBody[Verification], context: NamedDependency[AppContext]
    ) -> Attempt:
        return await record_verification(
            context,
            attempt_id,
            verified=data.verified,
            reason=data.reason,
            provider_voice_id=data.provider_voice_id,
        )

    @post("/voice-clone-attempts/{attempt_id:uuid}/runtime-sync", status_code=200)
    async def sync_runtime(
        self, attempt_id: FromPath[UUID], data: JSONBody[Delivery], context: NamedDependency[AppContext]
    ) -> StepAnswer:
        return await sync_runtime(context, attempt_id, message_id=data.msg_id)

    @post("/voice-clone-attempts/{attempt_id:uuid}/preview", status_code=200)
    async def render_preview(
        self, attempt_id: FromPath[UUID], data: JSONBody[Delivery], context: NamedDependency[AppContext]
    ) -> StepAnswer:
        return await render_preview(context, attempt_id, message_id=data.msg_id)

    @post("/enrollments/{enrollment_id:uuid}/clean-up", status_code=200)
    async def clean_up(
        self, enrollment_id: FromPath[UUID], data: JSONBody[Delivery], context: NamedDependency[AppContext]
    ) -> StepAnswer:
        return await clean_up(context, enrollment_id, message_id=data.msg_id)

    @post("/sweep", status_code=200)
    async def sweep(self, data: JSONBody[Sweep], database: NamedDependency[Database]) -> dict[str, int]:
        """Counts by what was done: expired, sent, requeued, failed, …; empty where nothing was due."""
        rows = await database.fetch_all(queries.sweep, {"limit": data.limit}, row=Count)
        done = {row.what: row.count for row in rows}
        if "errors" in done:
            log.error("not_recovered", **done, help="Postgres's log names each attempt and its error.")
        return done

    @post("/queues/{queue:str}/drain", status_code=200)
    async def drain(
        self, queue: FromPath[str], data: JSONBody[Drain], drainer: NamedDependency[Drainer]
    ) -> Drained:
        return await drainer.drain(queue, data.seconds)
