"""Invitations: the link with which an employee signs and revokes. Only a hash of its token is stored.

docs/decisions/0048-organizations-and-their-employees.md
"""

import re
import secrets
from datetime import datetime
from hashlib import sha256
from typing import Literal
from urllib.parse import urlencode
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.consents.revocation import Revocation, revoke_by
from backend.errors import NotFound

queries = load_queries(__file__)

TOKEN_BYTES = 32
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class Invitation(Struct, frozen=True, kw_only=True):
    """The only answer that has the token and the link; null where no page of the application is set."""

    invitation_id: UUID
    employee_id: UUID
    token: str
    link: str | None
    expires_at: datetime


class InvitationRow(Struct, frozen=True, kw_only=True):
    invitation_id: UUID
    expires_at: datetime


class OpenedInvitation(Struct, frozen=True, kw_only=True):
    """What the employee reads, word for word; once they signed, what they signed."""

    full_name: str | None
    organization: str | None
    statement: str
    version: int
    locale: str
    body: str
    expires_at: datetime
    signed_at: datetime | None
    revoked_at: datetime | None


class EmployeeConsent(Struct, frozen=True, kw_only=True):
    """A signature: how it was given, for which organization and employee. The hash is hexadecimal SHA-256."""

    consent_id: UUID
    organization_id: UUID
    employee_id: UUID
    method: Literal["account", "invitation"]
    statement: str
    version: int
    locale: str
    signed_at: datetime
    hash: str


class Link(Struct, frozen=True):
    """A link that somebody opened. `token_hash` finds its invitation."""

    employee_id: UUID
    token_hash: bytes

    @classmethod
    def of(cls, employee_id: UUID, token: str) -> "Link":
        """Raises NotFound where the text can be no token."""
        if not TOKEN.fullmatch(token):
            raise invalid_invitation()
        return cls(employee_id, hashed(token))

    @property
    def parameters(self) -> dict[str, UUID | bytes]:
        return {"employee": self.employee_id, "token_hash": self.token_hash}


def hashed(token: str) -> bytes:
    """A token has 256 random bits, so one round is enough."""
    return sha256(token.encode()).digest()


def invalid_invitation() -> NotFound:
    return NotFound(
        "This link is not valid.", code="invitation_invalid", help="Ask the organization for a new one."
    )


async def invite(context: AppContext, caller: Caller, employee_id: UUID, hours: int) -> Invitation:
    """A new link; one that was not signed yet is of no use from now on."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    parameters = {
        "employee": employee_id,
        "user": caller.user_id,
        "token_hash": hashed(token),
        "seconds": hours * 3600,
    }
    row = required(await context.database.fetch_one(queries.invite, parameters, row=InvitationRow))
    page = context.settings.server.consent_page_url
    # In the fragment, which a browser sends to no server.
    fragment = urlencode({"employee": str(employee_id), "token": token})
    return Invitation(
        invitation_id=row.invitation_id,
        employee_id=employee_id,
        token=token,
        link=f"{page}#{fragment}" if page else None,
        expires_at=row.expires_at,
    )


async def find(context: AppContext, link: Link) -> UUID:
    """The id of the invitation. Raises NotFound."""
    found = await context.database.fetch_value(queries.find_invitation, link.parameters, of=UUID)
    if found is None:
        raise invalid_invitation()
    return found


async def read(context: AppContext, link: Link, locale: str) -> OpenedInvitation:
    parameters = {**link.parameters, "locale": locale}
    return required(
        await context.database.fetch_one(queries.read_invitation, parameters, row=OpenedInvitation)
    )


async def sign(
    context: AppContext, link: Link, locale: str, version: int, signer: Caller | None
) -> EmployeeConsent:
    """Raises Conflict where the version that the employee read is not the current one."""
    parameters = {
        **link.parameters,
        "locale": locale,
        "version": version,
        "signer": signer.user_id if signer else None,
    }
    return required(
        await context.database.fetch_one(queries.sign_invitation, parameters, row=EmployeeConsent)
    )


async def revoke(context: AppContext, link: Link) -> Revocation:
    """The first revocation, however often it is called."""
    return await revoke_by(
        context, queries.revoke_by_invitation, link.parameters, employee_id=str(link.employee_id)
    )
