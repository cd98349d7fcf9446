"""How loud the noise is, from what the denoiser takes off: the residual.

Speech against the residual is the signal-to-noise ratio, whatever the pauses hold. In a room with echo the
residual is mostly the tail of the speech itself: its level follows the speech, and it is gone in the pauses.
Then the pauses say how loud the noise is, and the residual how strong the echo.
"""

import numpy as np
import soxr
from msgspec import Struct

from backend.audio.speech import FRAME_SECONDS

CLEANEST_DB = 60.0  # more is not told apart
EMPTY = 1e-9  # mean square of a frame without any recorded sound, as an editor leaves it
TAIL_SECONDS = 0.5  # in which an echo decays by 60 dB
FOLLOWS = 0.55  # correlation of the levels of residual and decaying speech
AUDIBLE_ECHO_DB = 15.0
FEWEST_PAUSES = 10  # frames
QUIET_PAUSES = 0.25  # of the pauses

TONAL_RATE, TONAL_WINDOW = 8_000, 1_024
TONAL_BINS = slice(6, 450)  # 50 to 3,500 Hz
TONAL_DB = -18.0  # flatness of a spectrum that has few lines, such as that of music


class Noise(Struct, frozen=True):
    """Decibels."""

    snr_db: float
    echo_db: float | None  # speech over its echo; None where the residual is something else


def measure_noise(speech: np.ndarray, recorded: np.ndarray, clean: np.ndarray, residual: np.ndarray) -> Noise:
    """`speech` marks frames; the others are the mean square of each. There is speech."""
    filled = recorded > EMPTY
    speaking, pause = speech & filled, ~speech & filled
    level = _mean(clean[speaking])
    snr = ratio_db(level, _mean(residual[speaking]))
    if not _follows(clean, residual, speaking):
        return Noise(snr, None)
    echo = snr if snr < AUDIBLE_ECHO_DB else None
    if np.count_nonzero(pause) < FEWEST_PAUSES:
        return Noise(snr, echo)
    quiet = float(np.quantile(residual[pause], QUIET_PAUSES))  # the echo has decayed
    return Noise(max(snr, ratio_db(level, quiet)), echo)


def _mean(power: np.ndarray) -> float:
    return float(power.mean()) if len(power) else 0.0


def ratio_db(signal: float, noise: float) -> float:
    return float(np.clip(10 * np.log10(max(signal, 1e-15) / max(noise, 1e-15)), -CLEANEST_DB, CLEANEST_DB))


def _follows(clean: np.ndarray, residual: np.ndarray, speaking: np.ndarray) -> bool:
    decay = 10 ** (-6 * FRAME_SECONDS / TAIL_SECONDS)
    tail, decaying = 0.0, np.empty(len(clean))
    for index, power in enumerate(clean.tolist()):
        tail = tail * decay + power
        decaying[index] = tail
    levels = np.log(np.stack((decaying, residual))[:, speaking] + EMPTY)
    if levels.shape[1] < FEWEST_PAUSES or not levels.std(axis=1).all():
        return False
    return bool(np.corrcoef(levels)[0, 1] >= FOLLOWS)


class ToneMeter:
    """Add samples (mono), then ask how flat their spectrum is: that of noise is, that of music is not."""

    def __init__(self, sample_rate: int) -> None:
        self._slow = soxr.ResampleStream(sample_rate, TONAL_RATE, 1, dtype="float32", quality="MQ")
        self._pending = np.zeros(0, np.float32)
        self._flatness: list[np.ndarray] = []

    def add(self, samples: np.ndarray, *, last: bool = False) -> None:
        self._pending = np.concatenate((self._pending, self._slow.resample_chunk(samples, last=last)))
        count = len(self._pending) // TONAL_WINDOW
        windows = self._pending[: count * TONAL_WINDOW].reshape(count, TONAL_WINDOW)
        self._pending = self._pending[count * TONAL_WINDOW :]
        if count:
            spectrum = np.abs(np.fft.rfft(windows * np.hanning(TONAL_WINDOW), axis=1)) ** 2 + 1e-14
            lines = spectrum[:, TONAL_BINS]
            flat = 10 * (np.log10(lines).mean(axis=1) - np.log10(lines.mean(axis=1)))
            self._flatness.append(flat)

    def is_tonal(self) -> bool:
        return bool(self._flatness) and float(np.median(np.concatenate(self._flatness))) <= TONAL_DB
