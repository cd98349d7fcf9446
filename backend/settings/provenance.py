"""Settings of the marks on audio: what signs them, and the roots that are trusted."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from msgspec import field

from backend.settings.sections import Section, url_problems


class ProvenanceSettings(Section, frozen=True, kw_only=True):
    certificate_file: str = field(name="C2PA_CERTIFICATE_FILE", default="")  # PEM, the signer's first
    key_file: str = field(name="C2PA_KEY_FILE", default="")  # PEM, P-256
    sign_command: str = field(name="C2PA_SIGN_COMMAND", default="")  # instead of a key
    timestamp_url: str = field(name="C2PA_TIMESTAMP_URL", default="")  # of an authority (RFC 3161)
    trust_file: str = field(name="C2PA_TRUST_FILE", default="")  # PEM of roots, to verify others' marks

    @property
    def anchors(self) -> str:
        return Path(self.trust_file).read_text() if self.trust_file else ""

    def problems(self) -> Iterator[str]:
        if (self.key_file or self.sign_command) and not self.certificate_file:
            yield "C2PA_CERTIFICATE_FILE is missing: a key signs with a certificate"
        if self.certificate_file and bool(self.key_file) == bool(self.sign_command):
            yield "C2PA_CERTIFICATE_FILE needs one of C2PA_KEY_FILE and C2PA_SIGN_COMMAND"
        if self.timestamp_url:
            yield from url_problems("C2PA_TIMESTAMP_URL", self.timestamp_url)
        for name, path in (
            ("C2PA_CERTIFICATE_FILE", self.certificate_file),
            ("C2PA_KEY_FILE", self.key_file),
            ("C2PA_TRUST_FILE", self.trust_file),
        ):
            if path and (fault := pem_fault(Path(path), FAULTS[name])):
                yield f"{name} {fault}"


def pem_fault(path: Path, fault_of: Callable[[bytes], str | None]) -> str | None:
    try:
        return fault_of(path.read_bytes())
    except OSError:
        return "cannot be read"


def fault_of_key(content: bytes) -> str | None:
    try:
        return None if is_p256(load_pem_private_key(content, None)) else "is not a key of P-256"
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "has no key without a passphrase in PEM"


def fault_of_roots(content: bytes) -> str | None:
    try:
        load_pem_x509_certificates(content)
    except ValueError:
        return "has no certificate in PEM"
    return None


def fault_of_chain(content: bytes) -> str | None:
    if fault := fault_of_roots(content):
        return fault
    signer = load_pem_x509_certificates(content)[0]
    if not is_p256(signer.public_key()):
        return "begins with a certificate that is not of a key of P-256"
    since, until = signer.not_valid_before_utc, signer.not_valid_after_utc
    if not since <= datetime.now(UTC) < until:
        return f"begins with a certificate that is valid only from {since:%Y-%m-%d} to {until:%Y-%m-%d}"
    return None


def is_p256(key: object) -> bool:
    return isinstance(key, EllipticCurvePrivateKey | EllipticCurvePublicKey) and key.curve.name == "secp256r1"


FAULTS = {
    "C2PA_CERTIFICATE_FILE": fault_of_chain,
    "C2PA_KEY_FILE": fault_of_key,
    "C2PA_TRUST_FILE": fault_of_roots,
}
