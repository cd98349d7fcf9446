"""The secrets of one stack, made once and kept in LOCAL_DIR."""

import os
import secrets
import time
from pathlib import Path

import jwt
import msgspec

TEN_YEARS = 10 * 365 * 24 * 3600


class Secrets(msgspec.Struct, frozen=True):
    jwt_secret: str
    publishable_key: str
    secret_key: str
    anon_key: str
    service_role_key: str
    internal_token: str
    demo_password: str


def load_secrets(path: Path) -> Secrets:
    if not path.exists():
        write_private(path, msgspec.json.encode(create_secrets()))
    return msgspec.json.decode(path.read_bytes(), type=Secrets)


def create_secrets() -> Secrets:
    jwt_secret = secrets.token_urlsafe(48)
    now = int(time.time())

    def role_key(role: str) -> str:
        claims = {"iss": "supabase", "role": role, "iat": now, "exp": now + TEN_YEARS}
        return jwt.encode(claims, jwt_secret, algorithm="HS256")

    return Secrets(
        jwt_secret=jwt_secret,
        publishable_key=f"sb_publishable_{secrets.token_hex(11)}_{secrets.token_hex(4)}",
        secret_key=f"sb_secret_{secrets.token_hex(16)}_{secrets.token_hex(4)}",
        anon_key=role_key("anon"),
        service_role_key=role_key("service_role"),
        internal_token=secrets.token_hex(32),
        demo_password=secrets.token_urlsafe(12),
    )


def write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, readable by the owner only."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    part.rename(path)
