"""Anchors: signed heads of the ledger of consents. Who has one can prove what the ledger was.

docs/decisions/0071-anchored-consents.md
"""

from hashlib import sha256

import msgspec
from msgspec import Struct

from backend.provenance.jws import NotSigned, Statement, read_jws, sign_jws
from backend.provenance.signing import SigningKey

KIND = "likeness-consent-anchor+jwt"


class Anchor(Struct, frozen=True, kw_only=True):
    """As it is signed. Hashes are in hexadecimal digits; `anchored_at` is UTC with microseconds and a Z.

    `digest`: SHA-256 over the hashes of the `entries` that it covers, in their order. `total`: entries of
    this anchor and of all before it.
    """

    position: int
    anchored_at: str
    entries: int
    total: int
    digest: str
    previous_hash: str
    hash: str

    def is_sound(self) -> bool:
        """Whether the hash is of these contents."""
        contents = f"{self.position}|{self.anchored_at}|{self.entries}|{self.total}|{self.digest}"
        try:
            return sha256(bytes.fromhex(self.previous_hash) + contents.encode()).hexdigest() == self.hash
        except ValueError:
            return False


class SignedAnchor(Struct, frozen=True, kw_only=True):
    anchor: Anchor
    statement: Statement


async def sign_anchor(key: SigningKey, anchor: Anchor) -> str:
    """A JWS. Raises SigningFailed."""
    return await sign_jws(key, KIND, msgspec.to_builtins(anchor))


def read_anchor(text: str) -> SignedAnchor:
    """Raises NotSigned."""
    statement = read_jws(text, KIND)
    try:
        anchor = msgspec.json.decode(statement.payload, type=Anchor)
    except msgspec.DecodeError as error:
        raise NotSigned("it signs no anchor") from error
    if not anchor.is_sound():
        raise NotSigned("the hash is not of what it signs")
    return SignedAnchor(anchor=anchor, statement=statement)


def anchor_path(position: int) -> str:
    """Of the object. Names sort as positions do."""
    return f"{position:010}.jws"
