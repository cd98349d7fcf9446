"""What travels between the service and the workers that mark and verify."""

from typing import Any, Literal

from msgspec import Struct

SIGNATURE = 64  # bytes, ES256
BESIDE = "application/octet-stream"  # of audio whose manifest is beside it, with the hash of all its bytes
MOST_SIGNED = 65_536  # bytes of a claim
EXPLANATIONS = {
    "valid": "The audio has a mark, and is as it was when it was signed.",
    "edited": "The audio has a mark, and was changed after it was signed.",
    "invalid": "The audio has a mark that does not hold: what it says may be made up.",
    "unmarked": "The audio has no mark. It may still be synthetic: a mark is lost when a file is converted.",
    "unreadable": "This is no WAV, MP3, FLAC or MP4 file, or it is damaged, and no mark was kept for it.",
}


class MarkJob(Struct, frozen=True, kw_only=True):
    """`format`: a name of formats.py, in which the audio, a WAV, is to be; null leaves it as it is."""

    audio: bytes
    content_type: str
    chain: str  # PEM; public
    definition: dict[str, Any]
    format: str | None = None
    tags: dict[str, str] = {}


class Marked(Struct, frozen=True, kw_only=True):
    """`manifest`: what a reader needs beside the audio; null where it is inside. `sample_rate`: Hz.

    `not_stamped`: why the time stamp is not in it.
    """

    audio: bytes
    manifest: bytes | None = None
    sample_rate: int = 0
    not_stamped: str = ""


class VerifyJob(Struct, frozen=True, kw_only=True):
    audio: bytes
    anchors: str  # PEM of the roots that are trusted
    manifest: bytes | None = None  # that was kept for this audio


class SignedBy(Struct, frozen=True, kw_only=True):
    """`is_trusted`: the certificate is of this service, or under a root that it is told to trust.

    Else anybody may have made the certificate, and its names say nothing.
    """

    name: str | None
    organization: str | None
    is_trusted: bool


class Verification(Struct, frozen=True, kw_only=True):
    """What a file says of itself. All but `verdict` and `explanation` is of the mark, and null without one.

    valid: as it was signed · edited: signed, and changed since · invalid: the mark itself does not hold ·
    unmarked: no mark, which says nothing of where the audio is from · unreadable: no audio file of a
    container that can hold a mark.
    """

    verdict: Literal["valid", "edited", "invalid", "unmarked", "unreadable"]
    explanation: str
    signed_by: SignedBy | None = None
    generator: str | None = None
    source_type: str | None = None  # the last part of IPTC's address: trainedAlgorithmicMedia
    provider: str | None = None
    model: str | None = None
    made_at: str | None = None
    stamped_at: str | None = None  # the time of the signature, as an authority attests it
    failures: list[str] = []  # C2PA's codes
