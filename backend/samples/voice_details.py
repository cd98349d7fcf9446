"""Voice details: the name, language and transcript that a user gives, checked before anything is stored."""

import unicodedata
from typing import Annotated

from msgspec import Meta, Struct

from backend.errors import InvalidInput

LONGEST_NAME = 120
LONGEST_TRANSCRIPT = 4000

Language = Annotated[str, Meta(pattern="^[a-z]{2}$", description="ISO 639-1, such as en")]


class VoiceDetails(Struct, frozen=True, kw_only=True):
    """The voice's name and language, and what is said in its sample."""

    name: str
    language: str
    transcript: str | None


def clean_name(name: str) -> str:
    """The name as it is stored: trimmed, NFC, on one line."""
    name = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(name) <= LONGEST_NAME:
        raise InvalidInput(
            f"A name has 1 to {LONGEST_NAME} characters; this one has {len(name)}.",
            code="invalid_name",
            field="name",
        )
    refuse_control(name, "invalid_name", "name", allowed="")
    return name


def clean_transcript(transcript: str | None) -> str | None:
    """The words of the sample; None where no transcript was given."""
    transcript = unicodedata.normalize("NFC", transcript or "").strip()
    if len(transcript) > LONGEST_TRANSCRIPT:
        raise InvalidInput(
            f"A transcript has at most {LONGEST_TRANSCRIPT} characters; this one has {len(transcript)}.",
            code="invalid_transcript",
            field="transcript",
        )
    refuse_control(transcript, "invalid_transcript", "transcript", allowed="\n\r\t")
    return transcript or None


def refuse_control(text: str, code: str, field: str, allowed: str) -> None:
    """Raises InvalidInput for control characters and for invisible changes of the reading direction."""
    for character in text:
        if character not in allowed and (
            unicodedata.category(character) in {"Cc", "Cs", "Co", "Cn"} or "\u202a" <= character <= "\u202e"
        ):
            raise InvalidInput(
                f"It contains the control character U+{ord(character):04X}.", code=code, field=field
            )
