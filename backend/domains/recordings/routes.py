"""Routes of recordings: Twilio's callback, and the admins' list with assignment."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.domains.recordings.callbacks import PATH, authentic_form, queries, receive
from backend.errors import SignatureRefused
from backend.web.answers import Cursor, Limit, listed
from backend.web.authentication import require_user
from backend.web.contract import BODY, CODES, EXAMPLE, SECURITY, body_of
from backend.web.error_codes import ADMIN
from backend.web.error_codes import ErrorCode as E
from backend.web.pages import PAGE, Page, by_time
from backend.web.rate_limits import RateLimits

CALLBACK = {
    "type": "object",
    "description": "Twilio's parameters.",
    "properties": {
        name: {"type": "string"}
        for name in ("AccountSid", "CallSid", "RecordingSid", "RecordingUrl", "RecordingStatus")
    },
    "additionalProperties": {"type": "string"},
}

Status = Literal["unmatched", "pending", "processing", "stored", "superseded", "failed"]


class Recording(Struct, frozen=True, kw_only=True):
    id: UUID
    recording_sid: str
    call_sid: str | None  # none of one that was moved from an older layout
    org_id: UUID
    employee_id: UUID | None
    status: Status
    recorded_at: datetime
    seconds: int | None
    channels: int | None
    bytes: int | None
    error_code: str | None
    error_message: str | None
    created_at: datetime
    stored_at: datetime | None


class Assignment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    employee_id: UUID


class Assigned(Struct, frozen=True, kw_only=True):
    status: str


@post(
    PATH,
    status_code=204,
    tags=["recordings"],
    opt={
        SECURITY: [{"twilio": []}],
        BODY: body_of({"application/x-www-form-urlencoded": CALLBACK}),
        CODES: [E.SIGNATURE_REFUSED, E.RECORDING_URL_REFUSED, E.RATE_LIMITED, E.ROUTE_NOT_FOUND],
    },
)
async def take_recording(
    request: Request[Any, Any, Any],
    context: NamedDependency[AppContext],
    limits: NamedDependency[RateLimits],
    organization_id: FromQuery[UUID | None] = None,
) -> None:
    """Twilio's recording status callback. `organization_id`: of a recording without a known employee."""
    limits.require_address(request)
    query = request.scope["query_string"].decode("latin-1")
    signature = request.headers.get("x-twilio-signature", "")
    try:
        form = authentic_form(context.settings.twilio, await request.body(), query, signature)
        await receive(context, form, organization_id)
    except SignatureRefused:
        limits.count_refusal(request)
        raise


class RecordingsController(Controller):
    path = "/api/recordings"
    guards = (require_user,)
    tags = ("recordings",)

    @get(opt={CODES: [E.ADMIN_REQUIRED]})
    async def list_recordings(
        self,
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
        status: FromQuery[Status | None] = None,
        limit: Limit = PAGE,
        cursor: Cursor = None,
    ) -> Response[list[Recording]]:
        """Of the organizations whose admin the caller is, newest first, by pages."""
        page = Page.of(cursor, limit)
        parameters = {"user": caller.user_id, "status": status, **page.parameters}
        rows = await context.database.fetch_all(queries.list, parameters, row=Recording)
        return listed(*page.cut(rows, by_time))

    @post(
        "/{recording_id:uuid}/assign",
        status_code=202,
        opt={
            EXAMPLE: {"employee_id": "5f0c7a52-6a0e-4a49-9d7e-0f3a3f8f3b11"},
            CODES: [*ADMIN, E.RECORDING_ASSIGNED, E.ILLEGAL_TRANSITION],
        },
    )
    async def assign_recording(
        self,
        recording_id: FromPath[UUID],
        data: JSONBody[Assignment],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Assigned:
        """An unmatched recording gets its employee, and a failed one is fetched again. By an admin."""
        parameters = {"recording": recording_id, "employee": data.employee_id, "user": caller.user_id}
        status = await context.database.fetch_value(queries.assign, parameters, of=str)
        return Assigned(status=status or "")
