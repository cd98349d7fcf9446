"""The internal routes: the steps that consumers call, and the sweep and the drain that a scheduler calls."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from backend.app.queues import ALL_QUEUES, LifecycleQueue
from backend.context import AppContext
from backend.database.pool import Database
from backend.errors import NotFound
from backend.lifecycle.attempts import Attempt
from backend.lifecycle.claim import queries
from backend.lifecycle.verification import record_verification
from backend.queues.draining import Drained, Drainer
from backend.queues.outcomes import Outcome
from backend.telemetry.traces import only_linked, span
from backend.web.authentication import require_internal
from backend.web.logs import log


class StepRequest(Struct, frozen=True, kw_only=True):
    """The message that requests the step; acknowledged in the transaction of its effect."""

    queue: str | None = None
    msg_id: int | None = None


class VerificationResult(Struct, frozen=True, kw_only=True):
    """The result of a verification outside of this service; the reason is shown to the user.

    `provider_voice_id`, where given, must be the attempt's present voice: the result is about no other.
    """

    verified: bool
    reason: str | None = None
    provider_voice_id: str | None = None


class SweepRequest(Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 500  # attempts in one run


class DrainRequest(Struct, frozen=True, kw_only=True):
    seconds: Annotated[float, Meta(gt=0, le=300)] = 20.0


class SweepCount(Struct, frozen=True):
    what: str
    count: int


class InternalController(Controller):
    path = "/internal"
    guards = (require_internal,)
    include_in_schema = False

    @post("/voice-clone-attempts/{attempt_id:uuid}/verification", status_code=200)
    async def record_verification(
        self,
        attempt_id: FromPath[UUID],
        data: JSONBody[VerificationResult],
        context: NamedDependency[AppContext],
    ) -> Attempt:
        return await record_verification(
            context,
            attempt_id,
            verified=data.verified,
            reason=data.reason,
            provider_voice_id=data.provider_voice_id,
        )

    @get("/check", status_code=204)
    async def check_token(self) -> None:
        """The guard has accepted the token, and nothing is done: for a consumer that starts."""

    @post("/sweep", status_code=200)
    async def sweep(
        self, data: JSONBody[SweepRequest], database: NamedDependency[Database]
    ) -> dict[str, int]:
        """Counts by what was done: expired, sent, requeued, failed, …; empty where nothing was due."""
        with only_linked():
            rows = await database.steps.fetch_all(queries.sweep, {"limit": data.limit}, row=SweepCount)
        done = {row.what: row.count for row in rows}
        if "errors" in done:
            log.error("not_recovered", **done, help="Postgres's log names each attempt and its error.")
        if count := done.get("broken_consents"):
            log.error("consents_broken", count=count, help="`likeness consents verify` names each entry.")
        return done

    @post("/queues/{queue:str}/drain", status_code=200)
    async def drain(
        self, queue: FromPath[str], data: JSONBody[DrainRequest], drainer: NamedDependency[Drainer]
    ) -> Drained:
        return await drainer.drain(queue, data.seconds)


def step_routes(queue: LifecycleQueue) -> list[HTTPRouteHandler]:
    """The routes of a queue's step, at the addresses that the table names."""
    step = queue.step
    if step is None:
        return []

    @internal_post(queue.address.format(row_id="{row_id:uuid}"))
    async def run_step(
        row_id: FromPath[UUID], data: JSONBody[StepRequest], context: NamedDependency[AppContext]
    ) -> Outcome:
        with span(f"step {queue.name}", id=str(row_id)):
            return await step(context.for_steps(), row_id, message_id=data.msg_id)

    if not queue.reflection_address:
        return [run_step]

    @internal_post(
        queue.reflection_address.format(reflection_id="{reflection_id:uuid}", row_id="{row_id:uuid}")
    )
    async def run_step_of_reflection(
        reflection_id: FromPath[UUID],
        row_id: FromPath[UUID],
        data: JSONBody[StepRequest],
        context: NamedDependency[AppContext],
    ) -> Outcome:
        if not await context.database.reads.fetch_value(
            queries.is_for_reflection, {"attempt": row_id, "reflection": reflection_id}, of=bool
        ):
            raise NotFound("There is no such attempt for this reflection.")
        with span(f"step {queue.name}", id=str(row_id)):
            return await step(context.for_steps(), row_id, message_id=data.msg_id)

    return [run_step, run_step_of_reflection]


def internal_post(path: str) -> post:
    return post(path, status_code=200, guards=[require_internal], include_in_schema=False)


STEP_ROUTES = [route for queue in ALL_QUEUES for route in step_routes(queue)]
