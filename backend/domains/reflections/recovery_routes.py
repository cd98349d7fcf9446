"""Routes with which the owner of a reflection recovers its voice: retry, reset, restore."""

from uuid import UUID

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.domains.reflections import retry as retrying
from backend.domains.reflections.reflections import owner_step, queries
from backend.lifecycle.attempts import Attempt
from backend.lifecycle.values import Provider
from backend.web.answers import Answer
from backend.web.authentication import require_user
from backend.web.contract import CODES, EXAMPLE
from backend.web.error_codes import CLONING, RETRYING, SAMPLE_FINDINGS
from backend.web.error_codes import ErrorCode as E
from backend.web.idempotency import IDEMPOTENT
from backend.web.rate_limits import POLICY


class RetryVoice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to retry; without a provider, at the one that failed."""

    provider: Provider | None = None


class RecoveryController(Controller):
    path = "/v1/reflections/{reflection_id:uuid}/voice"
    guards = (require_user,)
    tags = ("reflections",)

    @post(
        "/retry",
        status_code=202,
        middleware=IDEMPOTENT,
        opt={
            POLICY: "uploads",
            EXAMPLE: {"provider": "elevenlabs"},
            CODES: [*CLONING, *RETRYING, *SAMPLE_FINDINGS, E.SAMPLE_MISSING],
        },
    )
    async def retry_reflection_voice(
        self,
        reflection_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        data: JSONBody[RetryVoice | None] = None,
    ) -> Response[Attempt]:
        """202: the step that failed (enrollment, runtime or preview) starts again.

        With another provider, a new attempt there with the same sample, which supersedes the failed one.
        409 `nothing_to_retry` where nothing failed, `retry_budget_used` where it was retried too often.
        """
        attempt = await retrying.retry(context, caller, reflection_id, data.provider if data else None)
        return Answer(Attempt.of(attempt), status_code=202)

    @post(
        "/reset",
        status_code=200,
        middleware=IDEMPOTENT,
        opt={CODES: [E.NOT_FOUND, E.NOTHING_TO_RESET, E.ILLEGAL_TRANSITION]},
    )
    async def reset_reflection_voice(
        self,
        reflection_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Attempt:
        """The reflection has no voice from now on; its attempts are kept. Idempotent.

        Returns the attempt that was active last. 409 `nothing_to_reset` where there never was one.
        """
        return Attempt.of(await owner_step(context, caller, reflection_id, queries.reset))

    @post(
        "/restore",
        status_code=200,
        middleware=IDEMPOTENT,
        opt={CODES: [E.NOT_FOUND, E.LATEST_NOT_FAILED, E.NOTHING_TO_RESTORE, E.ILLEGAL_TRANSITION]},
    )
    async def restore_reflection_voice(
        self,
        reflection_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Attempt:
        """Back to the previous voice, where the attempt that superseded it failed.

        409 `latest_not_failed` where that one did not fail, `nothing_to_restore` where no earlier voice is
        kept: none was ready, it was deleted or reset, or its consent was revoked.
        """
        return Attempt.of(await owner_step(context, caller, reflection_id, queries.restore))
