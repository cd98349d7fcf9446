"""JWS (RFC 7515, compact, ES256): what the service states, signed with the key of the marks.

The certificates of the service are in the header, so that others can verify it. Whether to trust them is
theirs to decide.
"""

import base64
import binascii
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from backend.provenance.signing import ES256, SigningFailed, SigningKey, both_forms

ALGORITHM = "ES256"


class NotSigned(Exception):  # noqa: N818 - what was read proves nothing; the message says why
    """It is no JWS of this type, or its signature is not that of its certificate."""


class Header(Struct):
    alg: str
    typ: str
    x5c: list[str]


class Statement(Struct, frozen=True, kw_only=True):
    """What was signed, and by whom: the signer's certificate is the first."""

    payload: bytes
    certificates: list[x509.Certificate]

    def is_of(self, trusted: Collection[x509.Certificate]) -> bool:
        """Whether the signer is one of these, or has its certificate from an authority among these.

        The time is not compared: what was signed while a certificate was valid stays signed.
        """
        holder = self.certificates[0]
        for issuer in self.certificates[1:]:
            if is_trusted(holder, trusted):
                return True
            if not is_issued_by(holder, issuer):
                return False
            holder = issuer
        return is_trusted(holder, trusted)


async def sign_jws(key: SigningKey, kind: str, payload: dict[str, Any]) -> str:
    """`kind`: the `typ` of the header. Raises SigningFailed."""
    header = {"alg": ALGORITHM, "typ": kind, "x5c": certificates_of(key.chain)}
    text = b".".join(base64url(msgspec.json.encode(part)) for part in (header, payload))
    return b".".join((text, base64url(await key.sign(text)))).decode()


def read_jws(text: str, kind: str) -> Statement:
    """The statement, its signature verified with its own certificate. Raises NotSigned."""
    try:
        signed, _, signature = text.strip().rpartition(".")
        head, _, payload = signed.partition(".")
        header = msgspec.json.decode(from_base64url(head), type=Header)
        chain = [x509.load_der_x509_certificate(base64.b64decode(each)) for each in header.x5c]
        content, (_, der) = from_base64url(payload), both_forms(from_base64url(signature))
    except (ValueError, binascii.Error, msgspec.DecodeError, SigningFailed) as error:
        raise NotSigned("it is no JWS") from error
    if header.alg != ALGORITHM or header.typ != kind or not chain:
        raise NotSigned("it is a JWS of another kind")
    public = chain[0].public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise NotSigned("its certificate is not of an elliptic curve")
    try:
        public.verify(der, signed.encode(), ES256)
    except InvalidSignature:
        raise NotSigned("its signature is not that of its certificate") from None
    return Statement(payload=content, certificates=chain)


def is_trusted(certificate: x509.Certificate, trusted: Collection[x509.Certificate]) -> bool:
    return certificate in trusted or any(is_issued_by(certificate, each) for each in trusted)


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        is_authority = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return is_authority


def certificates_of(chain: str) -> Sequence[str]:
    """Of PEM, as a header has them."""
    loaded = x509.load_pem_x509_certificates(chain.encode())
    return [base64.b64encode(each.public_bytes(Encoding.DER)).decode() for each in loaded]


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def from_base64url(text: str) -> bytes:
    return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
