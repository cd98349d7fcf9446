"""Text that a user gives: bounded first, then normalised, then checked. Each step takes linear time."""

import unicodedata

from backend.errors import InvalidInput

LONGEST_DECOMPOSED = 4  # code points that one character of NFC may have before it is composed
MOST_MARKS = 30  # combining marks in a row, as in the Stream-Safe Text Format; more take quadratic time
DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def clean_text(text: str, *, most: int, code: str, field: str, allowed: str = "") -> str:
    """The text as it is stored: NFC and trimmed, at most so many characters."""
    if len(text) > LONGEST_DECOMPOSED * most:
        raise too_long(most, code, field)
    refuse_marks(text, code, field)
    text = unicodedata.normalize("NFC", text).strip()
    if len(text) > most:
        raise too_long(most, code, field)
    refuse_control(text, code, field, allowed)
    return text


def too_long(most: int, code: str, field: str) -> InvalidInput:
    return InvalidInput(f"It has more than {most} characters.", code=code, field=field, extra={"limit": most})


def refuse_marks(text: str, code: str, field: str) -> None:
    """Raises InvalidInput for more combining marks in a row than any language has."""
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > MOST_MARKS:
            raise InvalidInput(
                f"It has more than {MOST_MARKS} combining marks in a row.",
                code=code,
                field=field,
                extra={"limit": MOST_MARKS},
            )


def refuse_control(text: str, code: str, field: str, allowed: str) -> None:
    """Raises InvalidInput for control characters and for invisible changes of the reading direction."""
    for character in text:
        if character not in allowed and (
            unicodedata.category(character) in {"Cc", "Cs", "Co", "Cn"} or character in DIRECTIONS
        ):
            raise InvalidInput(
                f"It contains the control character U+{ord(character):04X}.", code=code, field=field
            )
