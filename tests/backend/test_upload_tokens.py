"""When upload tokens are signed by the service, and when Storage must sign them."""

import time
from typing import Any

import jwt
import pytest

from backend.storage.upload_tokens import TRUSTED_SECONDS, UploadTokens

SECRET = "a secret of the project, which is 32 bytes or more"
PLACE, OTHER = "voice-samples/ada/take.wav", "voice-samples/bob/take.wav"


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    own = {"url": PLACE, "upsert": False, "scope": "upload", "owner": "x", "iat": now, "exp": now + 7200}
    return {**own, **changes}


def test_a_token_signed_here_says_what_storages_own_says() -> None:
    tokens, own = UploadTokens(SECRET), claims()
    tokens.learn(jwt.encode(own, SECRET, "HS256"), PLACE)
    token = tokens.sign(OTHER)
    assert token is not None
    signed = jwt.decode(token, SECRET, ["HS256"])
    assert signed == {**own, "url": OTHER, "iat": signed["iat"], "exp": signed["iat"] + 7200}
    assert signed["iat"] >= own["iat"]


REFUSED = {
    "another secret": jwt.encode(claims(), SECRET[::-1], "HS256"),
    "another algorithm": jwt.encode(claims(), SECRET * 2, "HS512"),
    "no signature": jwt.encode(claims(), "", "none"),
    "another object": jwt.encode(claims(url=OTHER), SECRET, "HS256"),
    "no end": jwt.encode({k: v for k, v in claims().items() if k != "exp"}, SECRET, "HS256"),
    "no token": "not a token",
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
def test_storage_is_asked_while_its_tokens_are_not_what_the_secret_makes(token: str) -> None:
    tokens = UploadTokens(SECRET)
    tokens.learn(jwt.encode(claims(), SECRET, "HS256"), PLACE)
    assert tokens.sign(OTHER)
    tokens.learn(token, PLACE)
    assert tokens.sign(OTHER) is None


def test_storage_is_asked_once_a_minute_whatever_it_said() -> None:
    now = 0.0
    tokens = UploadTokens(SECRET, clock=lambda: now)
    assert tokens.sign(OTHER) is None
    tokens.learn(jwt.encode(claims(), SECRET, "HS256"), PLACE)
    now = TRUSTED_SECONDS
    assert tokens.sign(OTHER)
    now += 1
    assert tokens.sign(OTHER) is None


def test_without_a_secret_nothing_is_signed_here() -> None:
    tokens = UploadTokens("")
    tokens.learn(jwt.encode(claims(), SECRET, "HS256"), PLACE)
    assert tokens.sign(OTHER) is None
