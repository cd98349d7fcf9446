"""How much noise is left after it was suppressed: what the denoiser takes off when it hears the result."""

from typing import BinaryIO

import numpy as np

from backend.audio.noise import Noise, measure_noise, ratio_db
from backend.audio.speech import FRAME_SECONDS
from backend.audio.tracks import SAMPLE_RATE, TrackSplitter, read_track

HEARD_SECONDS = 2.0  # of the middle of the sample: it costs as much as suppressing
FRAME = round(SAMPLE_RATE * FRAME_SECONDS)
CLEAN = 1


def remaining_snr(
    splitter: TrackSplitter, tracks: BinaryIO, speech: np.ndarray, before: Noise
) -> float | None:
    """`speech` marks frames of the whole recording. None where there is none in the part that is heard."""
    count = min(len(speech), round(HEARD_SECONDS / FRAME_SECONDS))
    middle = int(np.median(np.flatnonzero(speech)))
    first = int(np.clip(middle - count // 2, 0, len(speech) - count))
    clean = read_track(tracks, CLEAN, first * FRAME, count * FRAME)
    again = splitter.again(clean)[: len(clean)]
    frames = speech[first : first + len(again) // FRAME]
    if not frames.any():
        return None
    heard = (clean[: len(again)], again, clean[: len(again)] - again)
    recorded, kept, taken = (power(each, len(frames)) for each in heard)
    if before.echo_db is not None:  # as before: what is taken off is the echo
        return measure_noise(frames, recorded, kept, taken).snr_db
    return ratio_db(float(kept[frames].mean()), float(taken[frames].mean()))


def power(samples: np.ndarray, frames: int) -> np.ndarray:
    return np.mean(samples[: frames * FRAME].reshape(frames, FRAME).astype(float) ** 2, axis=1)
