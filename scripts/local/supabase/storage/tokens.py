"""Who calls, and the JWTs in signed URLs. Messages are those of the hosted server's JWT library."""

import time
from typing import Any

import jwt
import msgspec

from scripts.local.supabase.storage.errors import LocalStorageError

UPLOAD_SECONDS = 7200


class Keys(msgspec.Struct, frozen=True):
    """What opens a project: opaque keys, the two JWT keys of old projects, and the secret that signs."""

    publishable_key: str
    secret_key: str
    anon_key: str
    service_role_key: str
    jwt_secret: str


class RequestUser(msgspec.Struct, frozen=True):
    """The role of a request and its claims; `owner` is the user's id."""

    role: str
    claims: dict[str, Any]

    @property
    def owner(self) -> str | None:
        return self.claims.get("sub")


ANONYMOUS = RequestUser("anon", {"role": "anon"})
SERVICE = RequestUser("service_role", {"role": "service_role"})


def identify(keys: Keys, authorization: str | None, apikey: str | None) -> RequestUser | None:
    """The caller, None where there is neither token nor key; an opaque key stands for its role.

    Raises:
        LocalStorageError: the token is not one of this project's.
    """
    token = (authorization or "").removeprefix("Bearer ").strip() or apikey
    if not token:
        return None
    if token == keys.secret_key:
        return SERVICE
    if token == keys.publishable_key:
        return ANONYMOUS
    try:
        claims = decode(keys.jwt_secret, token)
    except LocalStorageError as error:
        raise LocalStorageError("AccessDenied", str(error)) from error
    return RequestUser(claims.get("role", "anon"), claims)


def decode(secret: str, token: str) -> dict[str, Any]:
    try:
        return jwt.decode(token, secret, algorithms=["HS256"], options={"verify_aud": False})
    except jwt.ExpiredSignatureError as error:
        raise LocalStorageError("InvalidJWT", '"exp" claim timestamp check failed') from error
    except jwt.InvalidSignatureError as error:
        raise LocalStorageError("InvalidJWT", "signature verification failed") from error
    except jwt.InvalidAlgorithmError as error:
        message = '"alg" (Algorithm) Header Parameter value not allowed'
        raise LocalStorageError("InvalidJWT", message) from error
    except jwt.InvalidTokenError as error:
        raise LocalStorageError("InvalidJWT", "Invalid Compact JWS") from error


def sign_upload(secret: str, url: str, owner: str | None, *, upsert: bool) -> str:
    named = {"owner": owner} if owner else {}
    return _sign(secret, {**named, "url": url, "upsert": upsert, "scope": "upload"}, UPLOAD_SECONDS)


def sign_download(secret: str, url: str, seconds: int) -> str:
    return _sign(secret, {"url": url, "scope": "download"}, seconds)


def verify_signed(secret: str, token: str, url: str, scope: str) -> dict[str, Any]:
    """The claims of a token that allows this action on this object.

    Raises:
        LocalStorageError: InvalidJWT, or InvalidSignature for another path or scope.
    """
    claims = decode(secret, token)
    if claims.get("scope") != scope:
        raise LocalStorageError("InvalidSignature", f"Token is not scoped for {scope}")
    if claims.get("url") != url:
        raise LocalStorageError("InvalidSignature")
    return claims


def _sign(secret: str, claims: dict[str, Any], seconds: int) -> str:
    now = int(time.time())
    return jwt.encode({**claims, "iat": now, "exp": now + seconds}, secret, algorithm="HS256")
