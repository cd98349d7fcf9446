"""Rate limits: of a user and a policy, and of an address whose tokens were refused.

Where a request costs money, all processes share its policy, in Postgres; the others are in this process. Both
use the generic cell rate algorithm, which keeps one number for a user and a policy. The headers are those of
draft-ietf-httpapi-ratelimit-headers-10.

docs/decisions/0032-rate-limits.md
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from msgspec import Struct

from backend.database.pool import Database, required
from backend.database.queries import load_queries
from backend.errors import Throttled
from backend.settings.limits import LimitSettings

queries = load_queries(__file__)

POLICY = "rate_limit"  # in a route's `opt`: the name of its policy; without one it is `requests`
HEADERS = "rate_limit_headers"  # in a request's state, once it is counted
MINUTE = 60.0
DAY = 86_400.0
MOST_KEYS = 20_000  # that one process remembers
LONGEST_ADDRESS = 64  # characters


Connection = ASGIConnection[Any, Any, Any, Any]
RateLimitHeaders = Sequence[tuple[bytes, bytes]]


class Policy(Struct, frozen=True):
    name: str
    limit: int
    window: float = MINUTE
    is_shared: bool = True


class Use(Struct, frozen=True):
    """The result of a use; `used` is the part of the window's limit that is used by now."""

    is_allowed: bool
    used: float


class LocalUses:
    """What was used in this process. The key that was used longest ago is forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST_KEYS) -> None:
        self._used_until: OrderedDict[tuple[object, str], float] = OrderedDict()
        self._clock = clock
        self._most = most

    def use(self, key: object, policy: Policy, cost: int = 1, *, is_trial: bool = False) -> Use:
        """A trial uses nothing."""
        now = self._clock()
        until = max(self._used_until.get((key, policy.name), now), now)
        after = until + policy.window * cost / policy.limit
        if after > now + policy.window:
            return Use(False, (until - now) / policy.window)
        if is_trial:
            return Use(True, (until - now) / policy.window)
        self._used_until[key, policy.name] = after
        self._used_until.move_to_end((key, policy.name))
        if len(self._used_until) > self._most:
            self._used_until.popitem(last=False)
        return Use(True, (after - now) / policy.window)


class RateLimits:
    def __init__(self, settings: LimitSettings, database: Database) -> None:
        self._database = database
        self._local = LocalUses()
        self._client_address = settings.client_address.lower()
        policies = [
            Policy("requests", settings.requests, is_shared=False),
            Policy("uploads", settings.uploads),
            Policy("finalizations", settings.finalizations),
            Policy("previews", settings.previews),
            Policy("speech", settings.speech),
            Policy("spoken_consents", settings.spoken_consents),
            Policy("characters", settings.characters, DAY),
            Policy("verifications", settings.verifications, is_shared=False),
            Policy("refusals", settings.refusals, is_shared=False),
            Policy("sign_ins", settings.sign_ins, is_shared=False),
        ]
        self._policies = {policy.name: policy for policy in policies if policy.limit}

    async def count(
        self,
        connection: Connection,
        handler: BaseRouteHandler,
        user: UUID,
    ) -> None:
        """Once for a request, however often its user is asked for. Raises Throttled."""
        state = connection.scope["state"]
        policy = self._policies.get(handler.opt.get(POLICY, "requests"))
        if policy is None or state.get(HEADERS):
            return
        use = await self._use(policy, user, 1)
        state[HEADERS] = headers(policy, use)
        if not use.is_allowed:
            raise throttled(policy, use, 1)

    async def use(self, name: str, user: UUID, cost: int) -> None:
        """Of another policy than the route's. Raises Throttled, and then nothing is used."""
        policy = self._policies.get(name)
        if policy is not None and not (use := await self._use(policy, user, cost)).is_allowed:
            raise throttled(policy, use, cost)

    async def _use(self, policy: Policy, user: UUID, cost: int) -> Use:
        if not policy.is_shared:
            return self._local.use(user, policy, cost)
        parameters = {
            "user": user, "policy": policy.name, "limit": policy.limit, "window": policy.window, "cost": cost,
        }  # fmt: skip
        return required(await self._database.fetch_one(queries.use, parameters, row=Use))

    def count_address(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Of a route without users. Where addresses are not known, all share one limit. Raises Throttled."""
        policy = self._policies.get(handler.opt[POLICY])
        if policy is None:
            return
        use = self._local.use(self._address(connection), policy)
        connection.scope["state"][HEADERS] = headers(policy, use)
        if not use.is_allowed:
            raise throttled(policy, use, 1)

    def require_address(self, connection: Connection) -> None:
        """Raises Throttled where this address had too many refusals; `count_refusal` counts them."""
        policy, address = self._policies.get("refusals"), self._address(connection)
        if not policy or not address:
            return
        use = self._local.use(address, policy, is_trial=True)
        if not use.is_allowed:
            raise throttled(policy, use, 1)

    def count_refusal(self, connection: Connection) -> None:
        policy, address = self._policies.get("refusals"), self._address(connection)
        if policy and address:
            self._local.use(address, policy)

    def require_sign_in(self, connection: Connection) -> None:
        """Raises Throttled after too many refused sign-ins of this address; of all where it is not known."""
        policy = self._policies.get("sign_ins")
        if (
            policy
            and not (use := self._local.use(self._address(connection), policy, is_trial=True)).is_allowed
        ):
            raise throttled(policy, use, 1)

    def count_refused_sign_in(self, connection: Connection) -> None:
        if policy := self._policies.get("sign_ins"):
            self._local.use(self._address(connection), policy)

    def _address(self, connection: Connection) -> str:
        """Empty where it is not known: the peer may be a proxy, and a header may be the client's."""
        if not self._client_address:
            return ""
        if self._client_address == "peer":
            return connection.client.host if connection.client else ""
        return connection.headers.get(self._client_address, "").rpartition(",")[2].strip()[:LONGEST_ADDRESS]


def headers(policy: Policy, use: Use) -> RateLimitHeaders:
    left = max(0, math.floor(policy.limit * (1 - use.used) + 1e-6))
    reset = math.ceil(use.used * policy.window)
    return [
        (b"ratelimit-policy", b'"%b";q=%d;w=%d' % (policy.name.encode(), policy.limit, policy.window)),
        (b"ratelimit", b'"%b";r=%d;t=%d' % (policy.name.encode(), left, reset)),
    ]


def throttled(policy: Policy, use: Use, cost: int) -> Throttled:
    needed = min(1.0, cost / policy.limit)
    return Throttled(
        f"The limit of {policy.limit} {policy.name} is used; it is whole again {policy.window:.0f} seconds"
        " after the last use.",
        code="rate_limited",
        extra={"policy": policy.name, "limit": policy.limit, "window_seconds": policy.window},
        retry_after=max(1.0, (use.used + needed - 1) * policy.window),
    )
