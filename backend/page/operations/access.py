"""Who may use the operator's page: whoever has the project's secret key, and users of the operators' role.

docs/decisions/0092-the-operators-page.md
"""

import hmac
from typing import Any, Literal

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from msgspec import Struct

from backend.errors import Forbidden, Unauthenticated
from backend.web.authentication import TokenVerifier, bearer_token
from backend.web.rate_limits import RateLimits

ACTS = "operator_acts"  # in the `opt` of a route that changes something
KEY_HOLDER = "secret key"


class Operator(Struct, frozen=True):
    name: str  # of the log: the user's id, or `secret key`
    may_act: bool


class Metadata(Struct, frozen=True):
    """Of a user's `app_metadata`, which only the service role writes."""

    likeness_role: Literal["operator", "viewer"] | None = None


class Claims(Struct, frozen=True):
    app_metadata: Metadata = Metadata()


async def require_operator(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """A guard. It sets the operator in the request's state."""
    limits: RateLimits = connection.app.state.limits
    limits.require_sign_in(connection)
    try:
        operator = await identify(connection, handler)
    except (Unauthenticated, Forbidden):
        limits.count_refused_sign_in(connection)
        raise
    if handler.opt.get(ACTS) and not operator.may_act:
        raise Forbidden(
            "You may look, but not change anything: your role is viewer.",
            code="operator_required",
            help="Ask for the role operator, or sign in with the project's secret key.",
        )
    connection.scope["state"]["operator"] = operator


async def identify(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> Operator:
    token = bearer_token(connection)
    secret_key: str = connection.app.state.settings.supabase.secret_key
    if hmac.compare_digest(token.encode(), secret_key.encode()):
        return Operator(KEY_HOLDER, may_act=True)
    verifier: TokenVerifier = connection.app.state.verifier
    caller = await verifier.verify(token)
    role = role_of(caller.claims)
    if role is None:
        raise Forbidden(
            "This user is no operator.",
            code="operator_required",
            help="Set likeness_role in the user's app_metadata, or sign in with the project's secret key.",
        )
    await connection.app.state.limits.count(connection, handler, caller.user_id)
    return Operator(str(caller.user_id), may_act=role == "operator")


def role_of(claims: str) -> Literal["operator", "viewer"] | None:
    """Of verified claims; None also where the claim has another form."""
    try:
        return msgspec.json.decode(claims, type=Claims).app_metadata.likeness_role
    except msgspec.ValidationError:
        return None
