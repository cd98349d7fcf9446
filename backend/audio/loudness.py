"""Loudness by ITU-R BS.1770-4, of a stream: the filter in overlapping blocks, the gate over 400 ms powers.

What is kept grows by ten numbers a second. The same as pyloudnorm on the same samples (a test holds that),
without the two seconds that importing scipy costs a worker.
"""

import numpy as np

SAMPLE_RATE = 24_000
STEP = SAMPLE_RATE // 10  # the 400 ms blocks overlap by three quarters
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0
_FFT = 1 << 15
_TAIL = 4_096  # samples after which the filter's response has died away (38 Hz, critically damped)
_FRESH = (_FFT - _TAIL) // STEP * STEP


def _response() -> np.ndarray:
    """K-weighting on the FFT's grid: a high shelf (+4 dB from 1.5 kHz) and a high pass (38 Hz)."""
    z = np.exp(-2j * np.pi * np.arange(_FFT // 2 + 1) / _FFT)
    gain = 10 ** (4.0 / 40)
    w, alpha = _angle(1500.0, 1 / np.sqrt(2))
    root = 2 * np.sqrt(gain) * alpha
    up, down = gain + 1, gain - 1
    shelf = _biquad(
        z,
        (
            gain * (up + down * np.cos(w) + root),
            -2 * gain * (down + up * np.cos(w)),
            gain * (up + down * np.cos(w) - root),
        ),
        (up - down * np.cos(w) + root, 2 * (down - up * np.cos(w)), up - down * np.cos(w) - root),
    )
    w, alpha = _angle(38.0, 0.5)
    one = 1 + np.cos(w)
    return shelf * _biquad(z, (one / 2, -one, one / 2), (1 + alpha, -2 * np.cos(w), 1 - alpha))


def _angle(hertz: float, q: float) -> tuple[float, float]:
    w = 2 * np.pi * hertz / SAMPLE_RATE
    return w, np.sin(w) / (2 * q)


def _biquad(z: np.ndarray, b: tuple[float, ...], a: tuple[float, ...]) -> np.ndarray:
    return (b[0] + b[1] * z + b[2] * z * z) / (a[0] + a[1] * z + a[2] * z * z)


_K = _response()


class LoudnessMeter:
    """Add samples (mono, 24 kHz, any number at a time), then ask once for `integrated`."""

    def __init__(self) -> None:
        self._tail = np.zeros(_TAIL)
        self._pending = np.zeros(0)
        self._powers: list[float] = []  # of each 100 ms

    def add(self, samples: np.ndarray) -> None:
        self._pending = np.concatenate((self._pending, samples))
        while len(self._pending) >= _FRESH:
            self._filter(self._pending[:_FRESH])
            self._pending = self._pending[_FRESH:]

    def integrated(self) -> float | None:
        """LUFS; None when nothing is loud enough to measure, or there are not 400 ms."""
        if len(self._pending) >= STEP:
            self._filter(self._pending)
            self._pending = np.zeros(0)
        if len(self._powers) < 4:
            return None
        blocks = np.convolve(self._powers, np.full(4, 0.25), "valid")
        loud = blocks[_lufs(blocks) >= ABSOLUTE_GATE]
        if not len(loud):
            return None
        return float(_lufs(loud[_lufs(loud) > _lufs(loud.mean()) + RELATIVE_GATE].mean()))

    def _filter(self, fresh: np.ndarray) -> None:
        block = np.concatenate((self._tail, fresh))
        filtered = np.fft.irfft(np.fft.rfft(block, _FFT) * _K, _FFT)[_TAIL : len(block)]
        whole = filtered[: len(filtered) // STEP * STEP].reshape(-1, STEP)
        self._powers += np.mean(whole**2, axis=1).tolist()
        self._tail = block[-_TAIL:]


def _lufs(power: np.ndarray | np.floating) -> np.ndarray:
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-12))
