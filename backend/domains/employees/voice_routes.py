"""An employee's voice: clone, mirror, gate, preview, attempts. Admins change, members read."""

from typing import Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.employees.clone import NewEmployeeClone, clone_employee
from backend.lifecycle.attempts import Attempt, AttemptRow
from backend.lifecycle.launch_gate import LaunchGate
from backend.lifecycle.shown_mirror import Mirror
from backend.storage.buckets import PREVIEW_BUCKET
from backend.web.answers import Answer, Cursor, Limit, listed
from backend.web.authentication import require_user
from backend.web.contract import BODY, CODES, EXAMPLE, json_body
from backend.web.error_codes import ADMIN, CLONING, INSPECTION, STORAGE
from backend.web.error_codes import ErrorCode as E
from backend.web.idempotency import IDEMPOTENT, once
from backend.web.pages import PAGE, Page, by_time
from backend.web.rate_limits import POLICY
from backend.web.requests import read_json

queries = load_queries(__file__)

PREVIEW_URL_SECONDS = 600


class EmployeeVoice(Struct, frozen=True, kw_only=True):
    """The mirror and `voice_id` as the row carries them, the gate, and the consent that is valid now."""

    voice: Mirror
    voice_id: str | None
    gate: LaunchGate
    consent_id: UUID | None
    preview_url: str | None
    recording_clone: dict[str, Any] | None  # of the newest recording, where the organization asked for it


class EmployeeVoiceRow(Struct, frozen=True, kw_only=True):
    voice: dict[str, Any]
    voice_id: str | None
    gate: LaunchGate
    preview_path: str | None
    consent_id: UUID | None
    recording_clone: dict[str, Any] | None


class EmployeeCloneController(Controller):
    path = "/api/employees/{employee_id:uuid}"
    guards = (require_user,)
    tags = ("employees",)

    @post(
        "/clone-voice",
        status_code=202,
        middleware=IDEMPOTENT,
        opt={
            POLICY: "uploads",
            BODY: json_body(NewEmployeeClone, required=False),
            EXAMPLE: {"language": "en"},
            CODES: [*ADMIN, *CLONING, *INSPECTION, *STORAGE, E.RECORDING_NOT_STORED],
        },
    )
    async def clone_employee_voice(
        self,
        employee_id: FromPath[UUID],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Response[Attempt]:
        """202 with the attempt, queued, from the employee's recorded call. The body may be left out."""
        body = await request.body()
        new = read_json(body, NewEmployeeClone) if body else NewEmployeeClone()
        return Answer(Attempt.of(await clone_employee(context, caller, employee_id, new)), status_code=202)


class EmployeeVoiceController(Controller):
    path = "/v1/employees/{employee_id:uuid}"
    guards = (require_user,)
    tags = ("employees",)

    @get("/voice", opt={CODES: [E.NOT_FOUND, *STORAGE]})
    async def get_employee_voice(
        self,
        employee_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> EmployeeVoice:
        """Mirror, gate and consent, for a member of the organization."""
        row = await read_voice(context, caller, employee_id)
        url = None
        if row.preview_path is not None:
            url = await context.storage.signed_url(PREVIEW_BUCKET, row.preview_path, PREVIEW_URL_SECONDS)
        return EmployeeVoice(
            voice=Mirror.of(row.voice),
            voice_id=row.voice_id,
            gate=row.gate,
            consent_id=row.consent_id,
            preview_url=url,
            recording_clone=row.recording_clone,
        )

    @get("/launch-gate", opt={CODES: [E.NOT_FOUND]})
    async def get_employee_launch_gate(
        self,
        employee_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> LaunchGate:
        """May a session with the employee's voice start?"""
        return (await read_voice(context, caller, employee_id)).gate

    @delete("/voice", status_code=204, opt={CODES: ADMIN})
    async def delete_employee_voice(
        self,
        employee_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> None:
        """Silent at once; removed at the provider, with the recording."""
        await context.database.execute(queries.delete_voice, subject(employee_id, caller))

    @post(
        "/voice/preview",
        status_code=202,
        middleware=IDEMPOTENT,
        opt={POLICY: "previews", CODES: [*ADMIN, E.ILLEGAL_TRANSITION]},
    )
    async def request_employee_preview(
        self,
        employee_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Response[Attempt]:
        """Renders the clip, or renders it again; `GET …/voice` has its URL once it is rendered."""
        row = await once(
            context.database, queries.request_preview, subject(employee_id, caller), row=AttemptRow
        )
        return Answer(Attempt.of(required(row)), status_code=202)

    @post(
        "/voice/preview/complete",
        status_code=200,
        middleware=IDEMPOTENT,
        opt={CODES: [*ADMIN, E.ILLEGAL_TRANSITION]},
    )
    async def complete_employee_preview(
        self,
        employee_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Attempt:
        """An admin has heard the clip."""
        row = await once(
            context.database, queries.complete_preview, subject(employee_id, caller), row=AttemptRow
        )
        return Attempt.of(required(row))

    @get("/voice-clone-attempts", opt={CODES: [E.NOT_FOUND]})
    async def list_employee_attempts(
        self,
        employee_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        limit: Limit = PAGE,
        cursor: Cursor = None,
    ) -> Response[list[Attempt]]:
        """Newest first, by pages."""
        page = Page.of(cursor, limit)
        await read_voice(context, caller, employee_id)
        mine = context.database.as_caller(caller)
        parameters = {"employee": employee_id, **page.parameters}
        found = await mine.fetch_all(queries.attempts, parameters, row=AttemptRow)
        rows, following = page.cut(found, by_time)
        return listed([Attempt.of(row) for row in rows], following)


def subject(employee_id: UUID, caller: Caller) -> dict[str, UUID]:
    return {"employee": employee_id, "user": caller.user_id}


async def read_voice(context: AppContext, caller: Caller, employee_id: UUID) -> EmployeeVoiceRow:
    """Raises NotFound for anyone who is no member."""
    row = await context.database.reads.fetch_one(
        queries.voice, subject(employee_id, caller), row=EmployeeVoiceRow
    )
    return required(row)
