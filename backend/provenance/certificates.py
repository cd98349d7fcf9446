"""Certificates of development: a root, and a certificate under it that C2PA accepts for signing (ES256).

Nobody trusts the root but who is told to. Production has a certificate of its own (docs/provenance.md).
"""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

ORGANIZATION = "Likeness development"
VALID = timedelta(days=3650)
CLOCKS_DIFFER = timedelta(days=1)


class KeyPair(Struct, frozen=True, kw_only=True):
    """PEM texts. The chain starts with the certificate that signs."""

    chain: str
    key: str


def make_development_key_pair() -> KeyPair:
    root_key, key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    root = certificate("Likeness development root", root_key, root_key, issuer="Likeness development root")
    leaf = certificate("Likeness development", key, root_key, issuer="Likeness development root")
    return KeyPair(
        chain="".join(each.public_bytes(Encoding.PEM).decode() for each in (leaf, root)),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )


def certificate(
    name: str, key: EllipticCurvePrivateKey, signer: EllipticCurvePrivateKey, *, issuer: str
) -> x509.Certificate:
    """Of an authority where it signs itself, else of a signer of content."""
    is_authority = key is signer
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if not is_authority:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(signer, hashes.SHA256())


def named(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
