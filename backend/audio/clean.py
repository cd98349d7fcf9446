"""The cleaned sample: one of the two tracks, without the silence at its ends, at one loudness, as a WAV.

Loudness needs the whole clip before a gain can be applied: the tracks are read again from a temporary file.
"""

import contextlib
import os
import wave
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from msgspec import Struct

from backend.audio.loudness import LoudnessMeter
from backend.audio.pcm import pcm16
from backend.audio.speech import FRAME_SECONDS
from backend.audio.tracks import SAMPLE_RATE, read_track

TARGET_LUFS = -20.0
CEILING_DBTP = -3.0  # true peak; where the two disagree the ceiling holds
KEPT_SECONDS = 0.2  # of the silence at either end
FADE = round(0.005 * SAMPLE_RATE)  # where something was cut off
BLOCK = SAMPLE_RATE


class Cut(Struct, frozen=True):
    """Samples at 24 kHz: the first, and one past the last."""

    start: int
    end: int
    of: int

    @property
    def count(self) -> int:
        return self.end - self.start

    def blocks(self, file: BinaryIO, track: int) -> Iterator[np.ndarray]:
        for first in range(self.start, self.end, BLOCK):
            yield read_track(file, track, first, min(BLOCK, self.end - first))

    def faded(self, file: BinaryIO, track: int) -> Iterator[np.ndarray]:
        """The blocks; where silence was cut off, the edge fades."""
        at = self.start
        for block in self.blocks(file, track):
            index = np.arange(at, at + len(block))
            fade = np.ones(len(block), np.float32)
            if self.start > 0:
                fade = np.minimum(fade, (index - self.start) / FADE)
            if self.end < self.of:
                fade = np.minimum(fade, (self.end - 1 - index) / FADE)
            yield block * fade.astype(np.float32)
            at += len(block)


class Cleaned(Struct, frozen=True):
    """Decibels; `lufs` is None where nothing is loud enough to measure."""

    gain_db: float
    lufs: float | None
    true_peak_dbtp: float


def without_silence(sounds: np.ndarray, samples: int, most: int) -> Cut:
    """`sounds` marks frames. Nothing is cut off where there is no sound at all."""
    frame, kept = round(FRAME_SECONDS * SAMPLE_RATE), round(KEPT_SECONDS * SAMPLE_RATE)
    at = np.flatnonzero(sounds)
    start, end = (int(at[0]) * frame - kept, int(at[-1] + 1) * frame + kept) if len(at) else (0, samples)
    start, end = max(0, start), min(samples, end)
    return Cut(start, min(end, start + most), samples)


def write_clean(tracks: BinaryIO, track: int, cut: Cut, wav: BinaryIO | None) -> Cleaned:
    meter = LoudnessMeter(true_peak=True)
    for block in cut.blocks(tracks, track):
        meter.add(block)
    lufs, peak = meter.integrated(), meter.true_peak_db()
    gain = 0.0 if lufs is None else min(TARGET_LUFS - lufs, CEILING_DBTP - peak)
    if wav is not None:
        factor = np.float32(10 ** (gain / 20))
        with buffered(wav) as file, wave.open(file, "wb") as target:
            target.setparams((1, 2, SAMPLE_RATE, cut.count, "NONE", "not compressed"))
            for block in cut.faded(tracks, track):
                target.writeframesraw(pcm16(block * factor))
    return Cleaned(gain, None if lufs is None else lufs + gain, peak + gain)


@contextlib.contextmanager
def buffered(file: BinaryIO) -> Iterator[BinaryIO]:
    """Over a descriptor of its own: a raw file may write less than it is given."""
    with os.fdopen(os.dup(file.fileno()), "wb") as writer:
        yield writer
