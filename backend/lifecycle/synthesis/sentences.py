"""Long texts: split at sentences, so that each part is as long as a provider takes at most.

The parts are slices of the text in its order: together they are the text, and nothing is in two of them. A
sentence that is too long is split at clauses, then at words, then between characters. Each step is linear.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from enum import IntEnum

from msgspec import Struct


class Boundary(IntEnum):
    """Where a part ends, the strongest first."""

    PARAGRAPH = 0
    SENTENCE = 1
    CLAUSE = 2
    WORD = 3
    CHARACTER = 4


class Part(Struct, frozen=True):
    text: str
    ends_at: Boundary

    @property
    def is_speakable(self) -> bool:
        """Punctuation and spaces alone have nothing to speak."""
        return any(character.isalnum() for character in self.text)


_CLOSING = "\"'”’»)\\]}」』】）》〉"
_CJK_STOP = "。！？｡．"
_OTHER_STOP = "।॥؟۔።։។၊။"  # they end a sentence in their scripts, with a space after them or without
# Possessive, and never begun inside of a run: so that a search takes linear time.
_ENDS: dict[Boundary, re.Pattern[str]] = {
    Boundary.PARAGRAPH: re.compile(r"\n\s*\n\s*+"),
    Boundary.SENTENCE: re.compile(
        rf"(?<![.!?…])[.!?…]++[{_CLOSING}]*+(?=\s)\s*+|[{_CJK_STOP}{_OTHER_STOP}]++[{_CLOSING}]*+\s*+|\n\s*+"
    ),
    Boundary.CLAUSE: re.compile(
        rf"[,;:][{_CLOSING}]*+(?=\s)\s*+|[、，；：،؛][{_CLOSING}]*+\s*+|(?<!\s)\s++[-–—]++(?=\s)\s*+|—\s*+"
    ),
    Boundary.WORD: re.compile(r"\s++"),
}
# A full stop after one of these ends no sentence. Lower case, without the stop.
ABBREVIATIONS = frozenset((
    "mr", "mrs", "ms", "dr", "prof", "sr", "jr", "st", "rev", "gen", "col", "capt", "lt", "sgt", "hon",
    "vs", "etc", "e.g", "i.e", "cf", "approx", "dept", "fig", "inc", "ltd", "co", "corp", "nos", "nr",
    "vol", "vols", "pp", "ca", "a.m", "p.m", "u.s", "u.k", "ph.d", "hr", "fr", "hrn", "dipl", "ing",
    "bzw", "d.h", "z.b", "u.a", "usw", "evtl", "ggf", "inkl", "zzgl", "s.o", "s.u", "o.ä", "mme",
    "mlle", "chap", "p.ex", "sra", "srta", "ud", "uds", "ee.uu", "pág", "dott", "avv", "ecc",
))  # fmt: skip
_LAST_WORD = re.compile(r"(\S+?)\.$")
_LONGEST_WORD = 24  # characters before a stop that are looked at
_JOINER = "\u200d"


def split_text(text: str, most: int, count: Callable[[str], int] = len) -> list[Part]:
    """Parts of at most `most` characters, as `count` counts them without the spaces around a part.

    `count` adds up: of two texts it is the sum. One character may be more than `most`; then it is a part.
    """
    parts = list(_split(text, most, count, Boundary.PARAGRAPH))
    if parts:  # the end of the text, however its last part was cut
        parts[-1] = Part(parts[-1].text, Boundary.PARAGRAPH)
    return parts


def _split(text: str, most: int, count: Callable[[str], int], level: Boundary) -> Iterator[Part]:
    """Packs the segments of this level; one that is too long is split at the next level."""
    held: list[str] = []
    size = 0
    for segment in _segments(text, level):
        length = count(segment.rstrip())
        if held and size + length > most:
            yield Part("".join(held), level)
            held, size = [], 0
        if length > most and level is not Boundary.CHARACTER:
            *whole, last = _split(segment, most, count, Boundary(level + 1))
            yield from whole
            segment = last.text  # the next segments may fit behind it
        held.append(segment)
        size += count(segment)
    if held:
        yield Part("".join(held), level)


def _segments(text: str, level: Boundary) -> Iterator[str]:
    """Slices of the text, each with the boundary at its end."""
    if level is Boundary.CHARACTER:
        yield from _characters(text)
        return
    start = 0
    for found in _ENDS[level].finditer(text):
        if level is Boundary.SENTENCE and not _ends_sentence(text, found):
            continue
        yield text[start : found.end()]
        start = found.end()
    if start < len(text):
        yield text[start:]


def _ends_sentence(text: str, found: re.Match[str]) -> bool:
    """No sentence ends after an abbreviation or an initial, nor before a small letter."""
    ending = found[0].rstrip()
    if not ending or ending[0] not in ".…":
        return True
    following = text[found.end() : found.end() + 1]
    if following.islower() and "\n" not in found[0]:
        return False
    if ending != ".":
        return True
    stop = found.start() + 1
    before = _LAST_WORD.search(text[max(0, stop - _LONGEST_WORD) : stop].split()[-1])
    word = before[1].lstrip("(\"'“‘«[") if before else ""
    return not (word.lower() in ABBREVIATIONS or (len(word) == 1 and word.isupper()))


def _characters(text: str) -> Iterator[str]:
    """Each with its combining marks, and what a joiner binds to it."""
    start = 0
    for at in range(1, len(text)):
        is_mark = unicodedata.category(text[at]) in {"Mn", "Mc", "Me"} or text[at] == _JOINER
        if not is_mark and text[at - 1] != _JOINER:
            yield text[start:at]
            start = at
    if start < len(text):
        yield text[start:]
