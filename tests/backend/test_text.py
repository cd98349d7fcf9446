"""Text of users: refused by its length before it is normalised, whatever it is made of."""

import time
import unicodedata

import pytest

from backend.domains.samples.voice_details import clean_name, clean_transcript
from backend.errors import InvalidInput
from backend.web.text import LONGEST_DECOMPOSED, MOST_MARKS, clean_text

MARKS = "\u0315\u0301\u0327"  # of several combining classes, so that normalising sorts them


def refusal(text: str, most: int = 4000) -> str:
    with pytest.raises(InvalidInput) as refused:
        clean_text(text, most=most, code="refused", field="name")
    return refused.value.message


def test_a_decomposed_name_is_composed() -> None:
    name = unicodedata.normalize("NFD", "Zoë Đặng 한국")
    assert clean_name(f"  {name} ") == "Zoë Đặng 한국"


def test_the_length_is_that_of_the_composed_text() -> None:
    assert clean_name(unicodedata.normalize("NFD", "ệ" * 120)) == "ệ" * 120
    with pytest.raises(InvalidInput):
        clean_name("ệ" * 121)


@pytest.mark.parametrize("text", ["a" + MARKS * 27_000, "x" * 1_000_000, " " * 1_000_000])
def test_a_text_that_is_much_too_long_is_refused_by_its_length(text: str) -> None:
    assert refusal(text) == "It has more than 4000 characters."
    with pytest.raises(InvalidInput):
        clean_transcript(text)


def test_more_marks_in_a_row_than_a_language_has_are_refused() -> None:
    assert refusal("a" + "\u0301" * (MOST_MARKS + 1)) == "It has more than 30 combining marks in a row."
    assert clean_text("a" + "\u0301" * MOST_MARKS, most=100, code="refused", field="name")


@pytest.mark.parametrize("character", ["\x00", "\x7f", "\u202e", "\u2066", "\ud800", "\ue000", "\u0378"])
def test_a_character_that_is_not_shown_is_refused(character: str) -> None:
    assert "control character" in refusal(f"a{character}b")


def test_the_work_grows_with_the_length_and_not_faster() -> None:
    """The worst text that is not refused: as many marks in a row as are allowed, again and again."""

    def seconds(length: int) -> float:
        text = ("a" + (MARKS * MOST_MARKS)[:MOST_MARKS]) * (length // (MOST_MARKS + 1))
        started = time.thread_time()
        clean_text(text, most=length, code="refused", field="name")
        return time.thread_time() - started

    long, short = 64_000, 4_000
    ratio = min(seconds(long) for _ in range(5)) / min(seconds(short) for _ in range(5))
    assert ratio < 4 * long / short
    assert long > LONGEST_DECOMPOSED * 4000
