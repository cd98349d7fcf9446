"""Revocation: tried until it is in force, or the answer says that it is not."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.insisting import insist
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.errors import DatabaseUnavailable, Unavailable
from backend.web.logs import log

queries = load_queries(__file__)

REVOCATION_SECONDS = 10.0  # then the client is told to repeat the call


class Revocation(Struct, frozen=True, kw_only=True):
    consent_id: UUID
    revoked_at: datetime
    hash: str


async def revoke(context: AppContext, consent_id: UUID, user_id: UUID) -> Revocation:
    """The first revocation, however often it is called. Raises NotFound, or Unavailable: not in force yet."""
    parameters = {"consent": consent_id, "user": user_id}
    return await revoke_by(context, queries.revoke, parameters, consent_id=str(consent_id))


async def revoke_by(
    context: AppContext, query: LiteralString, parameters: Mapping[str, Any], **logged: str
) -> Revocation:
    """By a query that returns the revocation; `logged` says which, where it takes too long."""

    async def run() -> Revocation | None:
        return await context.database.revocations.fetch_one(query, parameters, row=Revocation)

    try:
        return required(await insist(run, REVOCATION_SECONDS))
    except DatabaseUnavailable as error:
        log.warning("consent_not_revoked", internal=error.internal, **logged)
        raise Unavailable(
            "The consent is not revoked yet: its voices are still in use.",
            code="consent_not_revoked",
            help="Send the same call again; it has the same effect however often it is sent.",
            retry_after=1,
        ) from error
