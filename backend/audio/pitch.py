"""Pitch by autocorrelation, many frames at once.

The autocorrelation of a windowed frame, divided by that of its window, peaks at the period with a height that
says how periodic the frame is (Boersma 1993, "Accurate short-term analysis of the fundamental frequency").
"""

import numpy as np

SAMPLE_RATE = 8_000  # of the frames given: enough for the periods looked for
WINDOW = 400  # samples: three periods of the lowest pitch
LOWEST, HIGHEST = 60.0, 450.0  # Hz
PERIODIC = 0.5  # strength from which a frame counts as voiced
OCTAVE_COST = 0.04  # for each octave downwards, so that a period is preferred to its double
_FFT = 1024
_LAGS = np.arange(int(SAMPLE_RATE / HIGHEST), int(SAMPLE_RATE / LOWEST) + 1)
_HANN = np.hanning(WINDOW + 2)[1:-1]
_AT_ONCE = 256


def _autocorrelation(frames: np.ndarray) -> np.ndarray:
    power = np.abs(np.fft.rfft(frames, _FFT, axis=-1)) ** 2
    return np.fft.irfft(power, axis=-1)[..., : WINDOW // 2]


_WINDOW_SHAPE = _autocorrelation(_HANN)
_WINDOW_SHAPE /= _WINDOW_SHAPE[0]


def find_pitch(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of frames (n × WINDOW samples at 8 kHz): hertz, and strength from 0 (noise) to 1 (a tone)."""
    hertz, strength = np.zeros(len(frames)), np.zeros(len(frames))
    for start in range(0, len(frames), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        hertz[part], strength[part] = _find_pitch(frames[part].astype(float))
    return hertz, strength


def _find_pitch(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centred = frames - frames.mean(axis=1, keepdims=True)
    correlation = _autocorrelation(centred * _HANN)
    correlation /= np.maximum(correlation[:, :1], 1e-12)
    correlation /= _WINDOW_SHAPE
    near = correlation[:, _LAGS]
    is_peak = (near >= correlation[:, _LAGS - 1]) & (near > correlation[:, _LAGS + 1])
    preference = OCTAVE_COST * np.log2(_LAGS / _LAGS[0])
    best = np.argmax(np.where(is_peak, near - preference, -1.0), axis=1)
    rows, lag = np.arange(len(frames)), _LAGS[best]
    before, at, after = (correlation[rows, lag + step] for step in (-1, 0, 1))
    bend = np.minimum(before - 2 * at + after, -1e-9)
    period = lag + np.clip((before - after) / (2 * bend), -0.5, 0.5)
    found = is_peak[rows, best]
    return np.where(found, SAMPLE_RATE / period, 0.0), np.where(found, np.clip(at, 0.0, 1.0), 0.0)
