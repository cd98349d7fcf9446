"""Authentication: Supabase access tokens, verified without a request to Supabase, and the internal token."""

import hmac
import re
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import jwt
import msgspec
from cachetools import TLRUCache
from jwt.types import Options
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from msgspec import Struct

from backend.database.caller import Caller
from backend.errors import Unauthenticated
from backend.settings.supabase import SupabaseSettings
from backend.web.http_client import HttpClient
from backend.web.jwks import JwksKeys
from backend.web.rate_limits import RateLimits

LEEWAY = 10  # seconds that clocks may differ
MAX_TOKEN_LENGTH = 8192  # characters
CACHED_TOKENS = 1024
CACHED_SECONDS = 300.0  # a token is accepted for at most so long after its key was removed

OPTIONS: Options = {"require": ["exp", "sub", "iss", "aud"]}
REFUSALS: list[tuple[type[jwt.InvalidTokenError], str, str]] = [
    (jwt.ExpiredSignatureError, "token_expired", "The token has expired."),
    (jwt.ImmatureSignatureError, "token_not_yet_valid", "The token is not valid yet."),
    (jwt.InvalidIssuerError, "token_issuer_refused", "The token comes from another project."),
    (jwt.InvalidAudienceError, "token_audience_refused", "The token is meant for another audience."),
    (jwt.MissingRequiredClaimError, "token_incomplete", "The token lacks a claim."),
    (jwt.InvalidSignatureError, "token_signature_refused", "The token's signature does not match."),
]


# A part of a token may hold JSON that is nested too deep, infinite numbers, or text that is not UTF-8.
UNREADABLE = (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError)
ZERO_CHARACTER = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

# A request that `require_user` let through. Hot routes read `request.user`, because a second dependency
# would cost a task group.
UserRequest = Request[Caller, Any, Any]


class Verified(Struct, frozen=True):
    caller: Caller
    expires: float  # seconds since the epoch


def cached_until(_: str, verified: Verified, now: float) -> float:
    return min(verified.expires, now + CACHED_SECONDS)


class TokenVerifier:
    """Verifies HS256 with the project's secret, ES256 and RS256 with its published keys.

    Each key is accepted for one algorithm only, so that a token cannot choose another one for it.
    """

    def __init__(
        self,
        settings: SupabaseSettings,
        http: HttpClient,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._keys = JwksKeys(settings.jwks_url, http, clock=clock) if settings.jwks_url else None
        self._cache = TLRUCache[str, Verified](CACHED_TOKENS, cached_until, timer=wall_clock)

    async def verify(self, token: str) -> Caller:
        """Raises Unauthenticated, or KeysUnavailable."""
        if verified := self._cache.get(token):
            return verified.caller
        if len(token) > MAX_TOKEN_LENGTH:
            raise Unauthenticated("The token is too long.", code="token_malformed")
        algorithm, key = await self._choose_key(token)
        claims = self._read(token, algorithm, key)
        caller = Caller(subject(claims), encode_claims(claims), token)
        self._cache[token] = Verified(caller, float(claims["exp"]))
        return caller

    async def _choose_key(self, token: str) -> tuple[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except UNREADABLE:
            raise Unauthenticated("This is not a token.", code="token_malformed") from None
        algorithm = header.get("alg")
        if not isinstance(algorithm, str):
            raise Unauthenticated("This is not a token.", code="token_malformed")
        if algorithm == "HS256" and self._settings.jwt_secret:
            return "HS256", self._settings.jwt_secret
        if algorithm in {"ES256", "RS256"} and self._keys:
            key = await self._keys.find(str(header.get("kid", "")))
            if key is None:
                raise Unauthenticated("The token was signed with an unknown key.", code="token_key_unknown")
            if key.algorithm_name == algorithm:
                return algorithm, key
        raise Unauthenticated("The token's algorithm is not accepted.", code="token_algorithm_refused")

    def _read(self, token: str, algorithm: str, key: Any) -> dict[str, Any]:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                leeway=LEEWAY,
                options=OPTIONS,
            )
        except UNREADABLE as error:
            for kind, code, message in REFUSALS:
                if isinstance(error, kind):
                    raise Unauthenticated(message, code=code) from None
            raise Unauthenticated(code="token_malformed") from None
        if claims.get("role") != "authenticated":
            raise Unauthenticated("The token is not a signed-in user's.", code="token_role_refused")
        if claims.get("is_anonymous") and not self._settings.allow_anonymous:
            raise Unauthenticated("Sign up first: this is an anonymous user.", code="token_anonymous_refused")
        return claims


def subject(claims: dict[str, Any]) -> UUID:
    """Only in the form that Postgres reads as well: `UUID()` accepts `urn:uuid:…` and braces too."""
    try:
        user_id = UUID(claims["sub"])
    except (ValueError, TypeError, AttributeError):
        user_id = None
    if user_id is None or str(user_id) != claims["sub"].lower():
        raise Unauthenticated("The token names no user.", code="token_subject_refused")
    return user_id


def encode_claims(claims: dict[str, Any]) -> str:
    """The JSON that row level security reads. Postgres has no lone surrogates and no zero characters."""
    try:
        encoded = msgspec.json.encode(claims).decode()
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise Unauthenticated(code="token_malformed") from None
    if ZERO_CHARACTER.search(encoded):
        raise Unauthenticated(code="token_malformed")
    return encoded


def bearer_token(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("Sign in first: this needs a bearer token.", code="token_missing")
    return token.strip()


async def require_user(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """A guard, so that the body of an unauthenticated request is not read. It sets `request.user`."""
    limits: RateLimits = connection.app.state.limits
    limits.require_address(connection)
    try:
        caller: Caller = await connection.app.state.verifier.verify(bearer_token(connection))
    except Unauthenticated:
        limits.count_refusal(connection)
        raise
    connection.scope["user"] = caller
    await limits.count(connection, handler, caller.user_id)


async def require_internal(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard for routes that only the consumers and the database may call."""
    expected = connection.app.state.settings.server.internal_token
    limits: RateLimits = connection.app.state.limits
    limits.require_address(connection)
    if not hmac.compare_digest(bearer_token(connection).encode(), expected.encode()):
        limits.count_refusal(connection)
        raise Unauthenticated("The internal token does not match.")


def provide_caller(request: Request[Any, Any, Any]) -> Caller:
    """The dependency `caller`. It raises in a route without its guard, so that the route is not open."""
    return request.scope["user"]
