"""Tokens: the shared secret, published keys that rotate, and forged tokens."""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.utils import base64url_encode

from backend.database.caller import Caller
from backend.errors import KeysUnavailable, Unauthenticated
from backend.settings.supabase import SupabaseSettings
from backend.web.authentication import TokenVerifier, Verified, cached_until
from backend.web.http_client import HttpClient
from backend.web.jwks import JwksKeys

SECRET = "a shared secret of more than thirty-two characters"
ISSUER = "https://project.example/auth/v1"


HOSTILE_HEADERS: dict[str, list[bytes]] = {
    "token_malformed": [
        *(b'{"alg":["HS256"]}', b'{"alg":{"HS256":1}}', b'{"alg":null}', b'{"alg":7}', b'{"alg":"\xff"}'),
        *(b"{}", b"[]", b"7", b'"HS256"', b"null", b"\xff", b""),
        *(b'{"alg":"HS256","kid":["a"]}', b'{"alg":"HS256","crit":"b64"}'),
        *(b"[" * 5000, b'{"alg":' + b"[" * 5000, b"9" * 5000),
    ],
    "token_signature_refused": [b'{"alg":"HS256","b64":7}'],
    "token_algorithm_refused": [b'{"alg":"\\ud800"}', b'{"alg":"none"}', b'{"alg":""}'],
}


class KeyServer:
    """A real HTTP server of a JWKS document, which counts its requests."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.requests = 0
        self.url = ""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/jwks.json"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        body = json.dumps({"keys": [public(kid, key) for kid, key in self.keys.items()]}).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


def public(kid: str, key: Any) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        document = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        document = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**document, "kid": kid, "use": "sig"}


@pytest.fixture
async def keys() -> AsyncIterator[KeyServer]:
    server = KeyServer()
    server.keys = {
        "elliptic": ec.generate_private_key(ec.SECP256R1()),
        "rsa": rsa.generate_private_key(65537, 2048),
    }
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def verifier(keys: KeyServer) -> AsyncIterator[TokenVerifier]:
    settings = SupabaseSettings(
        url="https://project.example", secret_key="sb_secret_x", jwt_secret=SECRET, jwks_url=keys.url
    )
    async with HttpClient() as http:
        yield TokenVerifier(settings, http)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    valid = {
        "sub": str(uuid4()),
        "role": "authenticated",
        "aud": "authenticated",
        "iss": ISSUER,
        "iat": now,
        "exp": now + 600,
    }
    return {name: value for name, value in {**valid, **changes}.items() if value is not None}


async def test_each_way_of_signing_is_accepted(verifier: TokenVerifier, keys: KeyServer) -> None:
    given = claims()
    tokens = [
        jwt.encode(given, SECRET, "HS256"),
        jwt.encode(given, keys.keys["elliptic"], "ES256", {"kid": "elliptic"}),
        jwt.encode(given, keys.keys["rsa"], "RS256", {"kid": "rsa"}),
    ]
    for token in tokens:
        assert str((await verifier.verify(token)).user_id) == given["sub"]
    assert keys.requests == 1


def forged(keys: KeyServer) -> dict[str, tuple[str, str]]:
    elliptic, stranger = keys.keys["elliptic"], ec.generate_private_key(ec.SECP256R1())
    pem = keys.keys["rsa"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def es256(key: Any = elliptic, kid: str = "elliptic", **changes: Any) -> str:
        return jwt.encode(claims(**changes), key, "ES256", {"kid": kid})

    def confused() -> str:
        """HS256, with the published RSA key as its secret."""
        head, body = (
            base64url_encode(json.dumps(each).encode()).decode()
            for each in ({"alg": "HS256", "typ": "JWT", "kid": "rsa"}, claims())
        )
        mac = hmac.digest(pem, f"{head}.{body}".encode(), "sha256")
        return f"{head}.{body}.{base64url_encode(mac).decode()}"

    return {
        "no algorithm": (jwt.encode(claims(), "", "none"), "token_algorithm_refused"),
        "the public key as a secret": (confused(), "token_signature_refused"),
        "another algorithm for a known key": (
            jwt.encode(claims(), keys.keys["rsa"], "RS256", {"kid": "elliptic"}),
            "token_algorithm_refused",
        ),
        "a stranger's key under a known id": (es256(stranger), "token_signature_refused"),
        "another project's issuer": (es256(iss="https://other.example/auth/v1"), "token_issuer_refused"),
        "another audience": (es256(aud="other"), "token_audience_refused"),
        "the anonymous role": (es256(role="anon"), "token_role_refused"),
        "the service's role": (es256(role="service_role"), "token_role_refused"),
        "expired": (es256(exp=int(time.time()) - 60), "token_expired"),
        "without an end": (es256(exp=None), "token_incomplete"),
        "not valid yet": (es256(nbf=int(time.time()) + 600), "token_not_yet_valid"),
        "a name instead of an id": (es256(sub="ada"), "token_subject_refused"),
        "an id in a form that Postgres does not read": (
            es256(sub=f"urn:uuid:{uuid4()}"),
            "token_subject_refused",
        ),
        "an id in braces": (es256(sub=f"{{{uuid4()}}}"), "token_subject_refused"),
        "an id without hyphens": (es256(sub=uuid4().hex), "token_subject_refused"),
        "a number instead of an id": (es256(sub=7), "token_malformed"),
        "a lone surrogate in a claim": (es256(user_metadata={"name": "\ud800"}), "token_malformed"),
        "a zero character in a claim": (es256(user_metadata={"name": "a\\\0"}), "token_malformed"),
        "an end that is infinite": (es256(exp=float("inf")), "token_malformed"),
        "an end that is a list": (es256(exp=[1]), "token_malformed"),
        "an anonymous user": (es256(is_anonymous=True), "token_anonymous_refused"),
        **{
            f"the header {header}": (f"{base64url_encode(header).decode()}.e30.AA", code)
            for code, headers in HOSTILE_HEADERS.items()
            for header in headers
        },
        "garbage": ("a.b.c", "token_malformed"),
        "a huge token": ("x" * 100_000, "token_malformed"),
    }


async def test_each_forgery_is_refused_by_its_name(verifier: TokenVerifier, keys: KeyServer) -> None:
    found = {}
    for name, (token, _) in forged(keys).items():
        with pytest.raises(Unauthenticated) as refused:
            await verifier.verify(token)
        found[name] = refused.value.code
        assert token[-20:] not in str(refused.value), "the token is not echoed"
    assert found == {name: code for name, (_, code) in forged(keys).items()}


def test_a_verified_token_is_cached_until_it_expires_and_at_most_five_minutes() -> None:
    caller = Caller(uuid4(), "{}", "token")
    assert cached_until("token", Verified(caller, expires=1_060.0), 1_000.0) == 1_060.0
    assert cached_until("token", Verified(caller, expires=5_000.0), 1_000.0) == 1_300.0


async def test_a_cached_token_ends_with_its_own_expiry() -> None:
    now = time.time()
    settings = SupabaseSettings(
        url="https://project.example", secret_key="sb_secret_x", jwt_secret=SECRET, jwks_url="off"
    )
    async with HttpClient() as http:
        verifier = TokenVerifier(settings, http, wall_clock=lambda: now)
        token = jwt.encode(claims(exp=int(time.time()) - 5), SECRET)  # within the leeway of clocks
        first = await verifier.verify(token)
        assert await verifier.verify(token) is not first, "it has expired, so it is not cached"
        token = jwt.encode(claims(exp=int(now) + 60), SECRET)
        first = await verifier.verify(token)
        assert await verifier.verify(token) is first
        now += 61
        assert await verifier.verify(token) is not first, "verified again, by the real clock"


async def test_anonymous_users_are_accepted_where_a_setting_allows_them() -> None:
    settings = SupabaseSettings(
        url="https://project.example", secret_key="sb_secret_x", jwt_secret=SECRET, jwks_url="off",
        allow_anonymous=True,
    )  # fmt: skip
    async with HttpClient() as http:
        given = claims(is_anonymous=True)
        found = await TokenVerifier(settings, http).verify(jwt.encode(given, SECRET))
    assert str(found.user_id) == given["sub"]


async def test_a_rotated_key_is_fetched_once_its_window_is_over(keys: KeyServer) -> None:
    now = 0.0
    async with HttpClient() as http:
        known = JwksKeys(keys.url, http, window=10, clock=lambda: now)
        assert await known.find("elliptic") is not None
        keys.keys = {"next": ec.generate_private_key(ec.SECP256R1())}
        flood = await asyncio.gather(*(known.find(f"unknown-{n}") for n in range(50)))
        assert flood == [None] * 50
        assert (await known.find("next"), keys.requests) == (None, 1), "one fetch in each window"
        now = 11.0
        assert await known.find("next") is not None
        assert (await known.find("elliptic"), keys.requests) == (None, 2), "a revoked key is not found"


async def test_keys_that_were_never_seen_are_an_outage_not_a_refusal(keys: KeyServer) -> None:
    await keys.stop()
    settings = SupabaseSettings(url="https://project.example", secret_key="sb_secret_x", jwks_url=keys.url)
    async with HttpClient() as http:
        verifier = TokenVerifier(settings, http)
        token = jwt.encode(claims(), keys.keys["elliptic"], "ES256", {"kid": "elliptic"})
        with pytest.raises(KeysUnavailable) as outage:
            await verifier.verify(token)
    assert outage.value.status == 503
    await keys.start()
