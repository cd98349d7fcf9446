"""Erasure: everything of a user ends in one transaction, and a signed receipt says where nothing is left.

docs/decisions/0063-erasures.md
"""

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.insisting import insist
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.errors import DatabaseUnavailable, NotFound, Unavailable
from backend.provenance.jws import sign_jws
from backend.provenance.signing import SigningFailed, SigningKey
from backend.web.logs import log
from backend.web.timestamps import plain

queries = load_queries(__file__)

ERASURE_SECONDS = 10.0  # then the client is told to repeat the call


class ErasedPlace(Struct, frozen=True, kw_only=True):
    """`confirmed_at` is when it was read again and nothing was left; null while that is not known.

    `is_held`: an operator keeps these files under a legal hold; they go when it is released.
    """

    place: Literal["database", "provider", "storage", "file", "answers"]
    name: str
    confirmed_at: datetime | None
    is_held: bool


class Erasure(Struct, frozen=True, kw_only=True):
    """`partial` until each place is confirmed. Consents and events stay as proof, without the person."""

    erasure_id: UUID
    kind: Literal["user", "employee", "voice"]
    requested_by: Literal["user", "auth", "operator", "ledger"]
    requested_at: datetime
    completed_at: datetime | None
    status: Literal["partial", "complete"]
    places: list[ErasedPlace]


class Receipt(Struct, frozen=True, kw_only=True):
    """`signed` is the erasure as a JWS (ES256) with the certificates of the service in its header.

    It is null while the key is away: the same call later has it.
    """

    erasure: Erasure
    signed: str | None


class Found(Struct):
    receipt: Erasure | None


async def erase(context: AppContext, user_id: UUID) -> Receipt:
    """Everything of the user, in one transaction. Raises Unavailable: nothing is erased yet."""
    revocations = context.database.revocations  # for its share of connections: it withdraws, as those do
    parameters = {"user": user_id}
    try:
        found = await insist(
            lambda: revocations.fetch_one(queries.request, parameters, row=Found), ERASURE_SECONDS
        )
    except DatabaseUnavailable as error:
        log.warning("not_erased", internal=error.internal)
        raise Unavailable(
            "Nothing is erased yet: other work holds your voices.",
            code="not_erased",
            help="Send the same call again; it has the same effect however often it is sent.",
            retry_after=1,
        ) from error
    return await issue(context, required(required(found).receipt))


async def read_receipt(context: AppContext, erasure_id: UUID, user_id: UUID) -> Receipt:
    """Raises NotFound, also for another's."""
    parameters = {"erasure": erasure_id, "user": user_id}
    found = required(await context.database.fetch_one(queries.receipt, parameters, row=Found))
    if found.receipt is None:
        raise NotFound("There is no such erasure.")
    return await issue(context, found.receipt)


async def issue(context: AppContext, erasure: Erasure) -> Receipt:
    try:
        return Receipt(erasure=erasure, signed=await sign(context.marker.key, erasure))
    except SigningFailed as error:
        log.warning("receipt_not_signed", internal=str(error))
        return Receipt(erasure=erasure, signed=None)


async def sign(key: SigningKey, erasure: Erasure) -> str:
    """Raises SigningFailed."""
    payload = plain(erasure) | {"iat": int(datetime.now(UTC).timestamp())}
    return await sign_jws(key, "likeness-erasure+jwt", payload)
