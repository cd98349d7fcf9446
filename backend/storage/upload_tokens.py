"""Upload tokens like Storage's own, signed here while Storage is seen to sign with the project's secret.

Asking Storage for each one is a round trip that opening an upload would spend most of its time on. But
whether it signs with the secret we know is Storage's to say: a token of its own is checked each minute.
"""

import time
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm
from jwt.utils import base64url_encode

TRUSTED_SECONDS = 60.0
HS256 = HMACAlgorithm(HMACAlgorithm.SHA256)
HEADER = base64url_encode(b'{"alg":"HS256","typ":"JWT"}')


class UploadTokens:
    def __init__(self, secret: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`secret` is the project's JWT secret; without one nothing is ever signed here."""
        self._secret = secret
        self._clock = clock
        self._pattern: dict[str, Any] | None = None
        self._lifetime = 0
        self._learned_at = 0.0

    def learn(self, token: str, url: str) -> None:
        """Storage has just signed this token for `url`. If our secret verifies it, it is the pattern."""
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
        """For "bucket/path"; None where Storage has to be asked."""
        if self._pattern is None or self._clock() - self._learned_at > TRUSTED_SECONDS:
            return None
        now = int(time.time())
        claims = {**self._pattern, "url": url, "iat": now, "exp": now + self._lifetime}
        # By its parts, for jwt.encode spends ten times as long on making sure that the secret is no RSA key.
        signed = HEADER + b"." + base64url_encode(msgspec.json.encode(claims))
        return (signed + b"." + base64url_encode(HS256.sign(signed, self._secret.encode()))).decode()
