"""Routes with which an admin recovers an employee's voice, or moves it: retry, restore, reset, move."""

from uuid import UUID

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.employees import elsewhere
from backend.lifecycle.attempts import Attempt, AttemptRow
from backend.lifecycle.values import Provider
from backend.web.authentication import require_user
from backend.web.contract import CODES, EXAMPLE
from backend.web.error_codes import ADMIN, CLONING, PROVIDER, RETRYING, SAMPLE_FINDINGS
from backend.web.error_codes import ErrorCode as E
from backend.web.idempotency import IDEMPOTENT, once
from backend.web.rate_limits import POLICY

queries = load_queries(__file__)


class RetryEmployeeVoice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to retry; without a provider, at the one that failed."""

    provider: Provider | None = None


class MoveEmployeeVoice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without a provider, to the project's. `switch_now`: also a voice that works."""

    provider: Provider | None = None
    switch_now: bool = False


class EmployeeRecoveryController(Controller):
    path = "/v1/employees/{employee_id:uuid}/voice"
    guards = (require_user,)
    tags = ("employees",)

    @post(
        "/retry",
        status_code=202,
        middleware=IDEMPOTENT,
        opt={
            POLICY: "uploads",
            EXAMPLE: {"provider": "elevenlabs"},
            CODES: [*ADMIN, *CLONING, *RETRYING, *SAMPLE_FINDINGS, E.SAMPLE_MISSING],
        },
    )
    async def retry_employee_voice(
        self,
        employee_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        data: JSONBody[RetryEmployeeVoice | None] = None,
    ) -> Response[Attempt]:
        """By an admin. 202: the step that failed (enrollment, runtime or preview) starts again.

        With another provider, a new attempt there with the same sample, which supersedes the failed one.
        409 `nothing_to_retry` where nothing failed, `retry_budget_used` where it was retried too often.
        """
        row = await elsewhere.retry(context, caller, employee_id, data.provider if data else None)
        return Response(Attempt.of(row), status_code=202)

    @post(
        "/move",
        status_code=202,
        middleware=IDEMPOTENT,
        opt={
            POLICY: "uploads",
            EXAMPLE: {"provider": "qwen", "switch_now": True},
            CODES: [
                *ADMIN,
                *CLONING,
                *SAMPLE_FINDINGS,
                *PROVIDER,
                E.ALREADY_THERE,
                E.MOVE_IN_PROGRESS,
                E.SWITCH_REQUIRED,
                E.SAMPLE_MISSING,
                E.ILLEGAL_TRANSITION,
            ],
        },
    )
    async def move_employee_voice(
        self,
        employee_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        data: JSONBody[MoveEmployeeVoice | None] = None,
    ) -> Response[Attempt]:
        """By an admin. 202 with the attempt that makes a voice of the same sample at the provider.

        It supersedes the old voice, which is kept until it is deleted, and comes back by `restore` where the
        new one fails. 409 `switch_required` where the old voice works and `switch_now` was not sent,
        `already_there`, `move_in_progress` or `sample_missing`; 422 where the provider would not take the
        sample.
        """
        wanted = data or MoveEmployeeVoice()
        row = await elsewhere.move(
            context, caller, employee_id, wanted.provider, switch_now=wanted.switch_now
        )
        return Response(Attempt.of(row), status_code=202)

    @post(
        "/restore",
        status_code=200,
        middleware=IDEMPOTENT,
        opt={CODES: [*ADMIN, E.LATEST_NOT_FAILED, E.NOTHING_TO_RESTORE, E.ILLEGAL_TRANSITION]},
    )
    async def restore_employee_voice(
        self,
        employee_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Attempt:
        """By an admin. Back to the previous voice, where the attempt that superseded it failed.

        409 `latest_not_failed` where that one did not fail, `nothing_to_restore` where no earlier voice is
        kept: none was ready, it was deleted or reset, or its consent was revoked.
        """
        parameters = {"employee": employee_id, "user": caller.user_id}
        row = await once(context.database, queries.restore, parameters, row=AttemptRow)
        return Attempt.of(required(row))

    @post(
        "/reset",
        status_code=200,
        middleware=IDEMPOTENT,
        opt={CODES: [*ADMIN, E.NOTHING_TO_RESET, E.ILLEGAL_TRANSITION]},
    )
    async def reset_employee_voice(
        self,
        employee_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Attempt:
        """By an admin. The employee has no voice from now on; consent and recording stay. Idempotent.

        Returns the attempt that was active last. 409 `nothing_to_reset` where there never was one.
        """
        parameters = {"employee": employee_id, "user": caller.user_id}
        row = await once(context.database, queries.reset, parameters, row=AttemptRow)
        return Attempt.of(required(row))
