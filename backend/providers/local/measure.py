"""What of a voice a short sample shows: pitch and its range, formants, long-term spectrum, pace."""

from functools import cache
from itertools import pairwise

import numpy as np
import soxr

from backend.audio import pitch
from backend.audio.speech import FRAME_SECONDS, find_speech
from backend.providers.local.jobs import Measures

SAMPLE_RATE = 24_000
HOP = round(SAMPLE_RATE * FRAME_SECONDS)
BANDS = np.geomspace(120, 9_000, 25)  # Hz, edges
CLEARLY_PERIODIC = 0.6
_FFT = 1_024
_FORMANT_RATE, _FORMANT_WINDOW, _ORDER = 10_000, 400, 12
_MOST_FORMANT_FRAMES = 300
_STEP, _SMOOTHING, _APART = 0.01, 5, 8  # seconds; steps: of the level in which syllables are peaks


def measure(samples: np.ndarray) -> Measures | None:
    """Of mono samples at 24 kHz; None when there is no voiced speech to measure."""
    slow = soxr.resample(samples, SAMPLE_RATE, pitch.SAMPLE_RATE)
    hop = HOP * pitch.SAMPLE_RATE // SAMPLE_RATE
    if len(slow) < pitch.WINDOW:
        return None
    hertz, strength = pitch.find_pitch(np.lib.stride_tricks.sliding_window_view(slow, pitch.WINDOW)[::hop])
    power = np.mean(samples[: len(hertz) * HOP].reshape(-1, HOP).astype(float) ** 2, axis=1)
    hertz, strength = hertz[: len(power)], strength[: len(power)]
    speech = find_speech(power, strength >= pitch.PERIODIC)
    voiced = speech.frames & (strength >= CLEARLY_PERIODIC) & (hertz > 0)
    if np.count_nonzero(voiced) < 10:
        return None
    low, median, high = np.percentile(hertz[voiced], (10, 50, 90))
    return Measures(
        pitch_hz=round(float(median), 2),
        pitch_span=round(float(12 * np.log2(high / low)), 2),
        formant_hz=round(_formants(samples, np.flatnonzero(voiced)), 1),
        syllables_per_second=round(_syllables(samples, speech.frames) / max(speech.voiced_seconds, 0.1), 3),
        bands_db=tuple(round(float(level), 2) for level in _bands(samples, speech.frames)),
    )


def _formants(samples: np.ndarray, voiced: np.ndarray) -> float:
    """Linear prediction of the voiced frames: the resonances are roots of the predictor near the circle."""
    slow = soxr.resample(samples, SAMPLE_RATE, _FORMANT_RATE)
    slow = np.diff(slow, prepend=0.0) + 0.03 * slow  # pre-emphasis
    starts = np.round(voiced * FRAME_SECONDS * _FORMANT_RATE).astype(int)
    starts = starts[starts + _FORMANT_WINDOW <= len(slow)]
    starts = starts[:: -(-len(starts) // _MOST_FORMANT_FRAMES)] if len(starts) else starts
    if not len(starts):
        return 0.0
    frames = np.lib.stride_tricks.sliding_window_view(slow, _FORMANT_WINDOW)[starts]
    roots = np.linalg.eigvals(_companions(_predictors(frames * np.hamming(_FORMANT_WINDOW))))
    hertz = np.angle(roots) * _FORMANT_RATE / (2 * np.pi)
    width = -np.log(np.maximum(np.abs(roots), 1e-6)) * _FORMANT_RATE / np.pi
    hertz = np.sort(np.where((hertz > 200) & (hertz < 4_700) & (width < 500), hertz, np.inf), axis=1)[:, 1:4]
    whole = hertz[np.isfinite(hertz).all(axis=1)]
    return float(np.exp(np.log(np.median(whole, axis=0)).mean())) if len(whole) else 0.0


def _predictors(frames: np.ndarray) -> np.ndarray:
    """Levinson and Durbin's recursion, for all frames at once: n × ORDER coefficients."""
    power = np.abs(np.fft.rfft(frames, _FFT, axis=1)) ** 2
    r = np.fft.irfft(power, axis=1)[:, : _ORDER + 1]
    r[:, 0] = r[:, 0] * 1.0001 + 1e-12
    a = np.zeros((len(r), _ORDER + 1))
    a[:, 0] = 1.0
    error = r[:, 0].copy()
    for order in range(1, _ORDER + 1):
        reflection = -np.sum(a[:, :order] * r[:, order:0:-1], axis=1) / error
        a[:, 1 : order + 1] += reflection[:, None] * a[:, order - 1 :: -1][:, :order]
        error *= 1 - reflection**2
    return a[:, 1:]


def _companions(predictors: np.ndarray) -> np.ndarray:
    matrices = np.zeros((len(predictors), _ORDER, _ORDER))
    matrices[:, 0] = -predictors
    matrices[:, np.arange(1, _ORDER), np.arange(_ORDER - 1)] = 1.0
    return matrices


def _syllables(samples: np.ndarray, speech: np.ndarray) -> int:
    """Peaks of the smoothed level, inside of speech, at least 80 ms apart."""
    step = round(_STEP * SAMPLE_RATE)
    power = np.mean(samples[: len(samples) // step * step].reshape(-1, step).astype(float) ** 2, axis=1)
    level = np.log(np.convolve(power, np.hanning(_SMOOTHING + 2)[1:-1], "same") + 1e-9)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(level, _APART, mode="edge"), 2 * _APART + 1)
    peak = (level >= around.max(axis=1)) & (level > around.min(axis=1) + 0.7)  # 3 dB
    inside = np.repeat(speech, round(FRAME_SECONDS / _STEP))[: len(peak)]
    return int(np.count_nonzero(peak[: len(inside)] & inside))


def _bands(samples: np.ndarray, speech: np.ndarray) -> np.ndarray:
    frames = samples[: len(speech) * HOP].reshape(-1, HOP)[speech].astype(float)
    power = np.mean(np.abs(np.fft.rfft(frames * np.hanning(HOP), _FFT, axis=1)) ** 2, axis=0)
    level = np.array([10 * np.log10(power[band].mean() + 1e-12) for band in _bins()])
    return level - level.mean()


@cache
def _bins() -> list[np.ndarray]:
    hertz = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)
    return [np.flatnonzero((hertz >= low) & (hertz < high)) for low, high in pairwise(BANDS)]
