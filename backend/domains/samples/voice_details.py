"""Voice details: the name, language and transcript that a user gives, checked before anything is stored."""

from typing import Annotated

from msgspec import Meta, Struct

from backend.errors import InvalidInput
from backend.web.text import clean_text

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
    name = clean_text(name, most=LONGEST_NAME, code="invalid_name", field="name")
    if not name:
        raise InvalidInput(
            f"A name has 1 to {LONGEST_NAME} characters; this one has none.",
            code="invalid_name",
            field="name",
            extra={"limit": LONGEST_NAME},
        )
    return name


def clean_transcript(transcript: str | None) -> str | None:
    """The words of the sample; None where no transcript was given."""
    cleaned = clean_text(
        transcript or "",
        most=LONGEST_TRANSCRIPT,
        code="invalid_transcript",
        field="transcript",
        allowed="\n\r\t",
    )
    return cleaned or None
