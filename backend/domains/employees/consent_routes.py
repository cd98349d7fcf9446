"""The consent of an employee: an admin invites, the employee reads, signs and revokes with the link."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Meta, Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.domains.consents.revocation import Revocation
from backend.domains.consents.routes import StatementVersion
from backend.domains.employees import invitations
from backend.domains.employees.invitations import EmployeeConsent, Invitation, Link, OpenedInvitation
from backend.errors import NotFound
from backend.web.authentication import bearer_token, require_user
from backend.web.contract import AUTHENTICATION, CODES, EXAMPLE, SECURITY
from backend.web.error_codes import ADMIN
from backend.web.error_codes import ErrorCode as E
from backend.web.rate_limits import RateLimits

TOKEN_HEADER = "Invitation-Token"  # noqa: S105 - its name
PATH = "/v1/employees/{employee_id:uuid}"
LinkRequest = Request[Any, Any, Any]
LINK = {
    SECURITY: [{"invitation": []}, {"invitation": [], "user": []}],
    CODES: [
        *AUTHENTICATION,
        E.INVITATION_INVALID,
        E.NOT_THE_EMPLOYEE,
        E.STATEMENT_NOT_FOUND,
        E.STATEMENT_OUTDATED,
        E.CONSENT_NOT_REVOKED,
        E.RATE_LIMITED,
        E.KEYS_UNAVAILABLE,
    ],
}


class NewInvitation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    expires_in_hours: Annotated[int, Meta(ge=1, le=720)] = 168


class Signature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In which language the employee read the statement, and which `version`: the current one is taken."""

    locale: Annotated[str, Meta(min_length=2, max_length=16)] = "en"
    version: StatementVersion


class InvitationsController(Controller):
    path = PATH
    guards = (require_user,)
    tags = ("employees",)

    @post("/consent-invitations", opt={CODES: ADMIN, EXAMPLE: {"expires_in_hours": 168}})
    async def invite_employee(
        self,
        employee_id: FromPath[UUID],
        data: JSONBody[NewInvitation],
        caller: NamedDependency[Caller],
        context: NamedDependency[AppContext],
    ) -> Invitation:
        """By an admin. The link is in this answer only, and replaces one that was not signed yet."""
        return await invitations.invite(context, caller, employee_id, data.expires_in_hours)


class EmployeeConsentsController(Controller):
    """With the link's token in the header `Invitation-Token`. An account is optional."""

    path = PATH
    tags = ("employees",)

    @get("/consent", opt=LINK)
    async def read_employee_consent(
        self,
        employee_id: FromPath[UUID],
        request: LinkRequest,
        context: NamedDependency[AppContext],
        locale: FromQuery[Annotated[str, Meta(max_length=16)]] = "en",
    ) -> OpenedInvitation:
        """What the employee is asked to sign, or what they signed."""
        link = await open_link(context, request, employee_id)
        return await invitations.read(context, link, locale)

    @post("/consent", opt={**LINK, EXAMPLE: {"locale": "en", "version": 1}})
    async def sign_employee_consent(
        self,
        employee_id: FromPath[UUID],
        data: JSONBody[Signature],
        request: LinkRequest,
        context: NamedDependency[AppContext],
    ) -> EmployeeConsent:
        """Signs without an account, or as the signed-in user where the request has their token too."""
        link = await open_link(context, request, employee_id)
        return await invitations.sign(context, link, data.locale, data.version, await signer(request))

    @delete("/consent", status_code=200, opt=LINK)
    async def revoke_employee_consent(
        self,
        employee_id: FromPath[UUID],
        request: LinkRequest,
        context: NamedDependency[AppContext],
    ) -> Revocation:
        """Ends every use of the voice. A link revokes what was signed with it, however old it is."""
        link = await open_link(context, request, employee_id)
        return await invitations.revoke(context, link)


async def open_link(context: AppContext, request: LinkRequest, employee_id: UUID) -> Link:
    """Counted for the invitation; a link that is none is counted for the address. Raises NotFound."""
    limits: RateLimits = request.app.state.limits
    limits.require_address(request)
    try:
        link = Link.of(employee_id, request.headers.get(TOKEN_HEADER, ""))
        invitation_id = await invitations.find(context, link)
    except NotFound:
        limits.count_refusal(request)
        raise
    await limits.count(request, request.route_handler, invitation_id)
    return link


async def signer(request: LinkRequest) -> Caller | None:
    """None without a token; one that is refused signs nothing."""
    if "authorization" not in request.headers:
        return None
    caller: Caller = await request.app.state.verifier.verify(bearer_token(request))
    return caller
