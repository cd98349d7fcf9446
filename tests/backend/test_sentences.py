"""Splitting a long text: at sentences if possible; nothing is lost or doubled, and no part is too long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.lifecycle.synthesis.sentences import Boundary, split_text
from backend.providers.qwen.adapter import count_characters

LETTERS = "aBz 9ä你好。！？、，.!?…,;:—-\n\t\"'”」()\u0301\u200d🙂ا۔؟।ABC Dr.z.B."


def parts(text: str, most: int) -> list[str]:
    return [part.text.strip() for part in split_text(text, most)]


@given(st.text(alphabet=LETTERS, max_size=400), st.integers(1, 60))
def test_the_parts_are_the_text_and_none_is_too_long(text: str, most: int) -> None:
    found = split_text(text, most)
    assert "".join(part.text for part in found) == text
    for part in found:
        marks = sum(1 for each in part.text if each in "\u0301\u200d")
        assert len(part.text.strip()) <= most or marks, part


@given(st.text(max_size=300), st.integers(2, 40))
def test_no_text_is_lost_whatever_its_script(text: str, most: int) -> None:
    found = split_text(text, most, count_characters)
    assert "".join(part.text for part in found) == text


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(31, 80))
def test_sentences_that_fit_stay_whole(lengths: list[int], most: int) -> None:
    sentences = ["A" + "b" * (length - 1) + "." for length in lengths]
    for part in parts(" ".join(sentences), most):
        assert part.split(" ") == [each for each in part.split(" ") if each in sentences]


SPLIT = {
    "It rains. We stay in! Do we? Yes.": ["It rains.", "We stay in!", "Do we? Yes."],
    "Dr. Smith met Mr. J. R. Hart. They left.": ["Dr. Smith met", "Mr. J. R. Hart.", "They left."],
    "Es kostet ca. 3.50 Euro. Gut.": ["Es kostet ca.", "3.50 Euro. Gut."],
    "He waited... and left. Then": ["He waited...", "and left. Then"],
    '"Stop." She stopped.': ['"Stop."', "She stopped."],
    "你好。今天天气很好！我们去公园吧？好的。": ["你好。今天天气很好！", "我们去公园吧？好的。"],
    "「そうですか。」彼は言った。終わり。": ["「そうですか。」彼は言った。", "終わり。"],
    "One two, three four five; six": ["One two,", "three four", "five; six"],
    "abcdefghijklmnopqrstuvwxyz": ["abcdefghijklmno", "pqrstuvwxyz"],
    "First line\nSecond line": ["First line", "Second line"],
    "یہ ایک ہے۔ وہ دو۔": ["یہ ایک ہے۔", "وہ دو۔"],
    "यह एक है। वह दो।": ["यह एक है।", "वह दो।"],
}


@pytest.mark.parametrize("text", SPLIT)
def test_a_text_is_split_where_a_reader_pauses(text: str) -> None:
    assert parts(text, 15) == SPLIT[text]


def test_a_part_says_what_it_ends_with() -> None:
    text = "One.\n\nTwo is long, as you see. Abcdefghijklmnop qr"
    assert [part.ends_at for part in split_text(text, 14)] == [
        Boundary.PARAGRAPH,
        Boundary.CLAUSE,
        Boundary.SENTENCE,
        Boundary.CHARACTER,
        Boundary.PARAGRAPH,
    ]


def test_a_character_stays_with_its_marks() -> None:
    family = "\U0001f469\u200d\U0001f467"
    assert parts(family + "e\u0301" * 3, 3) == [family, "e\u0301", "e\u0301", "e\u0301"]


def test_characters_are_counted_as_the_provider_counts_them() -> None:
    found = split_text("你好世界" * 10, 20, count_characters)
    assert [count_characters(part.text) for part in found] == [20] * 4


def test_punctuation_alone_is_not_speakable() -> None:
    assert [part.is_speakable for part in split_text("Hm. ?!?!?!", 6)] == [True, False]


@pytest.mark.parametrize(
    "unit", [".", " ", "\n", ",", "a", "。", '."', " -", "\u0301", "\u200d", ". ", "\n ", '"']
)
def test_the_work_grows_with_the_text(unit: str) -> None:
    """`count` sees each character a bounded number of times: once for each kind of boundary."""
    looked = 0

    def count(text: str) -> int:
        nonlocal looked
        looked += len(text)
        return len(text)

    text = unit * (20_000 // len(unit))
    found = split_text(text, 600, count)
    assert "".join(part.text for part in found) == text
    assert looked <= 12 * len(text)
