"""What the consumers call: one step of an attempt each, where the provider keys are."""

from uuid import UUID

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from backend.attempts import Attempt
from backend.auth import require_internal
from backend.enrollment import process_attempt
from backend.errors import NotFound
from backend.launch import render_preview, sync_runtime
from backend.leases import StepAnswer, queries
from backend.parts import Parts
from backend.verification import settle_verification, verify_attempt


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


class InternalController(Controller):
    path = "/internal"
    guards = (require_internal,)
    include_in_schema = False

    @post("/voice-clone-attempts/{attempt_id:uuid}/process", status_code=200)
    async def process(
        self, attempt_id: FromPath[UUID], data: JSONBody[Delivery], parts: NamedDependency[Parts]
    ) -> StepAnswer:
        return await process_attempt(parts, attempt_id, message_id=data.msg_id)

    @post("/reflections/{reflection_id:uuid}/voice-clone-attempts/{attempt_id:uuid}/process", status_code=200)
    async def process_of_reflection(
        self,
        reflection_id: FromPath[UUID],
        attempt_id: FromPath[UUID],
        data: JSONBody[Delivery],
        parts: NamedDependency[Parts],
    ) -> StepAnswer:
        if not await parts.database.fetch_value(
            queries.is_for_reflection, {"attempt": attempt_id, "reflection": reflection_id}, of=bool
        ):
            raise NotFound("There is no such attempt for this reflection.")
        return await process_attempt(parts, attempt_id, message_id=data.msg_id)

    @post("/voice-clone-attempts/{attempt_id:uuid}/verify", status_code=200)
    async def verify(
        self, attempt_id: FromPath[UUID], data: JSONBody[Delivery], parts: NamedDependency[Parts]
    ) -> StepAnswer:
        return await verify_attempt(parts, attempt_id, message_id=data.msg_id)

    @post("/voice-clone-attempts/{attempt_id:uuid}/verification", status_code=200)
    async def settle_verification(
        self, attempt_id: FromPath[UUID], data: JSONBody[Verification], parts: NamedDependency[Parts]
    ) -> Attempt:
        return await settle_verification(
            parts,
            attempt_id,
            verified=data.verified,
            reason=data.reason,
            provider_voice_id=data.provider_voice_id,
        )

    @post("/voice-clone-attempts/{attempt_id:uuid}/runtime-sync", status_code=200)
    async def sync_runtime(
        self, attempt_id: FromPath[UUID], data: JSONBody[Delivery], parts: NamedDependency[Parts]
    ) -> StepAnswer:
        return await sync_runtime(parts, attempt_id, message_id=data.msg_id)

    @post("/voice-clone-attempts/{attempt_id:uuid}/preview", status_code=200)
    async def render_preview(
        self, attempt_id: FromPath[UUID], data: JSONBody[Delivery], parts: NamedDependency[Parts]
    ) -> StepAnswer:
        return await render_preview(parts, attempt_id, message_id=data.msg_id)
