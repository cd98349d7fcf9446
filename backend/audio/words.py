"""Which words are spoken? By pocketsphinx, decoding freely: it is not told what to expect.

The extra `words` installs it; its model of English is inside. Its alignment to a given text is not used:
that finds the text in anything.
"""

import importlib.util
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import soxr

from backend.audio.clean import Cut
from backend.audio.pcm import pcm16
from backend.audio.tracks import SAMPLE_RATE, read_track

DECODER_RATE = 16_000

_decoders: list[Any] = []


def load() -> None:
    if not _decoders and importlib.util.find_spec("pocketsphinx") is not None:
        from pocketsphinx import Decoder

        _decoders.append(Decoder(samprate=DECODER_RATE, loglevel="FATAL"))


def heard_words(tracks: BinaryIO, track: int, cut: Cut) -> list[str]:
    load()
    samples = read_track(tracks, track, cut.start, cut.count)
    slow = soxr.resample(np.ascontiguousarray(samples), SAMPLE_RATE, DECODER_RATE)
    (decoder,) = _decoders
    decoder.start_utt()
    decoder.process_raw(pcm16(slow), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return words_of(found.hypstr) if found else []


def words_of(text: str) -> list[str]:
    """In lower case, without punctuation."""
    kept = "".join(each if each.isalnum() or each == "'" else " " for each in text.lower())
    return kept.split()


def likeness_of(heard: Sequence[str], wanted: Sequence[str]) -> float:
    """1 for the same words in the same order; words that are missing, wrong or added take from it."""
    before = list(range(len(wanted) + 1))
    for count, word in enumerate(heard, 1):
        row = [count]
        for at, other in enumerate(wanted):
            row.append(min(before[at] + (word != other), before[at + 1] + 1, row[at] + 1))
        before = row
    return 1 - before[-1] / max(len(heard), len(wanted), 1)
