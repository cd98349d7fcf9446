"""Upload tokens like Storage's own, signed here while Storage is known to sign with the project's secret.

A request to Storage for each token would take most of the time of opening an upload. That Storage signs with
the secret that we have is checked each minute with a token of its own.
"""

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm

TRUSTED_SECONDS = 60.0
HS256 = HMACAlgorithm(HMACAlgorithm.SHA256)


def base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


HEADER = base64url(b'{"alg":"HS256","typ":"JWT"}')


class UploadTokens:
    def __init__(self, secret: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`secret` is the project's JWT secret; without one nothing is signed here."""
        self._secret = secret
        self._clock = clock
        self._pattern: dict[str, Any] | None = None
        self._lifetime = 0
        self._learned_at = 0.0

    def learn(self, token: str, url: str) -> None:
        """`token` is Storage's own for `url`. Its claims are the pattern, if our secret verifies it."""
        try:
            claims = jwt.decode(token, self._secret, ["HS256"], options={"verify_aud": False})
            lifetime = claims.pop("exp") - claims.pop("iat")
        except (jwt.PyJWTError, KeyError, TypeError):
            claims, lifetime = {}, 0
        is_pattern = claims.pop("url", None) == url and lifetime > 0
        self._pattern = claims if is_pattern else None
        self._lifetime = lifetime
        self._learned_at = self._clock()

    def sign(self, url: str) -> str | None:
        """For "bucket/path"; None if Storage has to sign."""
        if self._pattern is None or self._clock() - self._learned_at > TRUSTED_SECONDS:
            return None
        now = int(time.time())
        claims = {**self._pattern, "url": url, "iat": now, "exp": now + self._lifetime}
        # jwt.encode takes ten times as long, because it checks that the secret is no RSA key.
        signed = HEADER + b"." + base64url(msgspec.json.encode(claims))
        return (signed + b"." + base64url(HS256.sign(signed, self._secret.encode()))).decode()
