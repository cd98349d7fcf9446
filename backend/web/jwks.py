"""The public keys that a Supabase project signs with: fetched, cached, and fetched again when they rotate.

Why not PyJWKClient: docs/decisions/0020-libraries-tried.md.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jwt
import msgspec

from backend.errors import KeysUnavailable
from backend.web.http_client import FAILURES, HttpClient
from backend.web.logs import log

FRESH_SECONDS = 600.0
WINDOW_SECONDS = 10.0  # between two fetches, however many unknown ids tokens name
ALGORITHMS = {("EC", "P-256"): "ES256", ("RSA", None): "RS256"}


class JwksKeys:
    """Keys by id. Unknown ids cause at most one fetch in each window, however many requests name them.

    While the keys cannot be fetched, the known ones stay valid.
    """

    def __init__(
        self,
        url: str,
        http: HttpClient,
        *,
        fresh: float = FRESH_SECONDS,
        window: float = WINDOW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._http = http
        self._fresh = fresh
        self._window = window
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] | None = None
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> jwt.PyJWK | None:
        """Waits for a fetch only if the key is unknown. Raises KeysUnavailable if no fetch ever succeeded."""
        now = self._clock()
        known = self._keys is not None and kid in self._keys
        if (not known or now - self._fetched_at > self._fresh) and now - self._tried_at > self._window:
            self._tried_at = now
            self._fetching = asyncio.create_task(self._fetch(now))
        if not known and self._fetching:
            await asyncio.shield(self._fetching)  # other requests may wait for it too
        if self._keys is None:
            raise KeysUnavailable(retry_after=self._window)
        return self._keys.get(kid)

    async def _fetch(self, now: float) -> None:
        try:
            async with self._http.request("GET", self._url) as response:
                response.raise_for_status()
                self._keys = read_keys(msgspec.json.decode(await response.read()))
            self._fetched_at = now
        except (*FAILURES, ValueError, TypeError, AttributeError, KeyError) as error:
            log.warning("token_keys_not_fetched", reason=repr(error))


def read_keys(document: dict[str, Any]) -> dict[str, jwt.PyJWK]:
    """Public signing keys, each bound to the one algorithm of its type. Shared secrets are ignored."""
    keys = {}
    for each in document["keys"]:
        algorithm = ALGORITHMS.get((each.get("kty"), each.get("crv")))
        if algorithm and each.get("alg", algorithm) == algorithm and each.get("use", "sig") == "sig":
            with suppress(jwt.PyJWTError):  # a malformed key does not affect the others
                keys[str(each.get("kid", ""))] = jwt.PyJWK(each, algorithm)
    return keys
