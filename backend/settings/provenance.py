"""Settings of the marks on audio: what signs them, and the roots that are trusted."""

from collections.abc import Iterator
from pathlib import Path

from msgspec import field

from backend.settings.sections import Section


class ProvenanceSettings(Section, frozen=True, kw_only=True):
    certificate_file: str = field(name="C2PA_CERTIFICATE_FILE", default="")  # PEM, the signer's first
    key_file: str = field(name="C2PA_KEY_FILE", default="")  # PEM, P-256
    sign_command: str = field(name="C2PA_SIGN_COMMAND", default="")  # instead of a key
    trust_file: str = field(name="C2PA_TRUST_FILE", default="")  # PEM of roots, to verify others' marks

    @property
    def anchors(self) -> str:
        return Path(self.trust_file).read_text() if self.trust_file else ""

    def problems(self) -> Iterator[str]:
        if (self.key_file or self.sign_command) and not self.certificate_file:
            yield "C2PA_CERTIFICATE_FILE is missing: a key signs with a certificate"
        if self.certificate_file and bool(self.key_file) == bool(self.sign_command):
            yield "C2PA_CERTIFICATE_FILE needs one of C2PA_KEY_FILE and C2PA_SIGN_COMMAND"
        for name, path in (
            ("C2PA_CERTIFICATE_FILE", self.certificate_file),
            ("C2PA_KEY_FILE", self.key_file),
            ("C2PA_TRUST_FILE", self.trust_file),
        ):
            if path and not is_pem(Path(path)):
                yield f"{name} is not a PEM file that can be read"


def is_pem(path: Path) -> bool:
    try:
        return path.read_bytes().lstrip().startswith(b"-----BEGIN ")
    except OSError:
        return False
