"""Settings of the Supabase project: its URL, its keys, and the issuer and audience of its tokens."""

from base64 import urlsafe_b64decode
from collections.abc import Iterator

import msgspec
from msgspec import Struct, field

from backend.settings.sections import PASSPHRASE_LENGTH, Section, derive, url_problems


def is_public_key(key: str) -> bool:
    """A publishable key, or the older anon key, whose claims name its role: what a page may contain."""
    if key.startswith("sb_publishable_"):
        return True
    try:
        claims = msgspec.json.decode(urlsafe_b64decode(key.split(".")[1] + "=="), type=Claims)
    except (IndexError, ValueError):
        return False
    return claims.role == "anon"


class Claims(Struct):
    role: str = ""


class SupabaseSettings(Section, frozen=True, kw_only=True):
    url: str = field(name="SUPABASE_URL")
    secret_key: str = field(name="SUPABASE_SECRET_KEY")
    publishable_key: str = field(
        name="SUPABASE_PUBLISHABLE_KEY", default=""
    )  # everyone can read it in the page
    jwt_secret: str = field(name="SUPABASE_JWT_SECRET", default="")
    jwks_url: str = field(name="SUPABASE_JWKS_URL", default="")  # "off": only the secret is trusted
    jwt_issuer: str = field(name="JWT_ISSUER", default="")
    jwt_audience: str = field(name="JWT_AUDIENCE", default="authenticated")
    allow_anonymous: bool = field(name="ALLOW_ANONYMOUS_USERS", default=False)

    def __post_init__(self) -> None:
        url = self.url.rstrip("/")
        jwks_url = self.jwks_url or (url and f"{url}/auth/v1/.well-known/jwks.json")
        derive(
            self,
            url=url,
            jwks_url="" if jwks_url == "off" else jwks_url,
            jwt_issuer=self.jwt_issuer or f"{url}/auth/v1",
        )

    def problems(self) -> Iterator[str]:
        yield from url_problems("SUPABASE_URL", self.url)
        if self.publishable_key and not is_public_key(self.publishable_key):
            yield "SUPABASE_PUBLISHABLE_KEY is no publishable key (sb_publishable_…, or the anon key)"
        if is_public_key(self.secret_key):
            yield "SUPABASE_SECRET_KEY is a publishable key; the service needs a secret key (sb_secret_…)"
        if self.jwks_url and not self.jwks_url.startswith(self.url):
            yield from url_problems("SUPABASE_JWKS_URL", self.jwks_url)
        if not self.jwks_url and not self.jwt_secret:
            yield "SUPABASE_JWT_SECRET or SUPABASE_JWKS_URL is needed, or no token can be verified"
        if 0 < len(self.jwt_secret) < PASSPHRASE_LENGTH:
            yield f"SUPABASE_JWT_SECRET is weak: at least {PASSPHRASE_LENGTH} characters"
