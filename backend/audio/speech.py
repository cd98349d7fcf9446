"""Speech detection in 20 ms frames: the level says where it begins and ends, a detector of voices what it is.

Without a detector level and periodicity decide: the level of speech varies and part of it is periodic; the
level of a hum, a hiss or silence is constant. The level also gives a signal-to-noise ratio.
"""

from itertools import pairwise

import numpy as np
from msgspec import Struct

FRAME_SECONDS = 0.02
LOWEST_DB = -96.0  # of 16 bits
NOISE_SHARE = 0.1  # the quietest frames are taken for the noise
ABOVE_NOISE_DB, BELOW_SPEECH_DB, FAINTEST_DB = 3.0, 30.0, -60.0
CLOSURE = 10  # frames: a stop consonant, inside of speech
PAUSE = 25  # frames: what continuous speech may pause
SHORTEST, FEWEST_PERIODIC = 5, 3  # frames of a stretch that is more than a click
AROUND_VOICE = 10  # frames: consonants that the detector leaves out


class Speech(Struct, frozen=True, kw_only=True):
    """Seconds and decibels (of full scale). `frames` are those of speech, `sounds` all but silence."""

    frames: np.ndarray
    sounds: np.ndarray
    voiced_seconds: float
    longest_seconds: float
    snr_db: float | None  # None without speech


def find_speech(power: np.ndarray, periodic: np.ndarray, voice: np.ndarray | None = None) -> Speech:
    """Of each frame: mean square, whether it is periodic, and whether a detector takes it for a voice."""
    level = decibels(power)
    noise = noise_floor(power)
    voices = level if voice is None or not voice.any() else level[voice]
    loud = float(np.percentile(voices, 95)) if len(level) else LOWEST_DB
    threshold = max(noise + ABOVE_NOISE_DB, loud - BELOW_SPEECH_DB, FAINTEST_DB)
    sounds = without_clicks(close_gaps(level > threshold, CLOSURE))
    if voice is None:
        active = sounds.copy()
        for start, end in runs(active):
            if np.count_nonzero(periodic[start:end]) < FEWEST_PERIODIC:
                active[start:end] = False
    else:
        active = without_clicks(sounds & widened(voice, AROUND_VOICE))
    longest = max((end - start for start, end in runs(close_gaps(active, PAUSE))), default=0)
    return Speech(
        frames=active,
        sounds=sounds,
        voiced_seconds=int(np.count_nonzero(active)) * FRAME_SECONDS,
        longest_seconds=longest * FRAME_SECONDS,
        snr_db=_snr(power[active], noise),
    )


def decibels(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 10 ** (LOWEST_DB / 10)))


def runs(active: np.ndarray) -> list[tuple[int, int]]:
    """First and one past the last index of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], active, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def close_gaps(active: np.ndarray, longest: int) -> np.ndarray:
    closed = active.copy()
    stretches = runs(active)
    for (_, end), (start, _) in pairwise(stretches):
        if start - end <= longest:
            closed[end:start] = True
    return closed


def without_clicks(active: np.ndarray) -> np.ndarray:
    kept = active.copy()
    for start, end in runs(active):
        if end - start < SHORTEST:
            kept[start:end] = False
    return kept


def widened(active: np.ndarray, by: int) -> np.ndarray:
    """Each stretch of True is longer by so many frames, at both ends."""
    wide = active.copy()
    for start, end in runs(active):
        wide[max(0, start - by) : end + by] = True
    return wide


def noise_floor(power: np.ndarray) -> float:
    if not len(power):
        return LOWEST_DB
    quietest = np.sort(power)[: max(1, int(len(power) * NOISE_SHARE))]
    return float(decibels(quietest.mean()))


def _snr(speech: np.ndarray, noise_db: float) -> float | None:
    """The noise is in the speech frames, too, and is taken off."""
    if not len(speech):
        return None
    noise = 10 ** (noise_db / 10)
    return float(10 * np.log10(max(float(speech.mean()) - noise, noise * 1e-3) / noise))
