"""Measures of a stream of samples. It keeps three numbers for each 20 ms, up to the maximum of seconds."""

import numpy as np
import soxr

from backend.audio import pitch
from backend.audio.loudness import LoudnessMeter
from backend.audio.speech import FRAME_SECONDS, LOWEST_DB, Speech, find_speech

SAMPLE_RATE = 24_000
FRAME = round(SAMPLE_RATE * FRAME_SECONDS)
CLIPPED = 0.99  # of full scale; clipped samples stay above it
AUDIBLE = 10 ** (-65 / 10)  # power below which no pitch is looked for


class LevelMeter:
    """Peak and clipping of the samples as recorded: resampling changes both."""

    def __init__(self) -> None:
        self._peak = 0.0
        self._clipped = 0
        self._samples = 0

    def add(self, block: np.ndarray) -> None:
        """channels × samples"""
        size = np.abs(block)
        self._peak = max(self._peak, float(size.max(initial=0.0)))
        self._clipped += int(np.count_nonzero(size >= CLIPPED))
        self._samples += size.size

    @property
    def peak_dbfs(self) -> float:
        return max(LOWEST_DB, float(20 * np.log10(max(self._peak, 1e-9))))

    @property
    def clipped_share(self) -> float:
        return self._clipped / max(1, self._samples)


class SpeechMeter:
    """Level, pitch and loudness of mono samples at 24 kHz."""

    def __init__(self) -> None:
        self._loudness = LoudnessMeter()
        self._slow = soxr.ResampleStream(SAMPLE_RATE, pitch.SAMPLE_RATE, 1, dtype="float32", quality="MQ")
        self._at_24k = np.zeros(0, np.float32)
        self._at_8k = np.zeros(0, np.float32)
        self._power: list[np.ndarray] = []
        self._hertz: list[np.ndarray] = []
        self._strength: list[np.ndarray] = []

    def add(self, samples: np.ndarray, *, last: bool = False) -> None:
        self._loudness.add(samples)
        self._at_24k = np.concatenate((self._at_24k, samples))
        self._at_8k = np.concatenate((self._at_8k, self._slow.resample_chunk(samples, last=last)))
        hop = FRAME // (SAMPLE_RATE // pitch.SAMPLE_RATE)
        if last:
            self._at_8k = np.concatenate((self._at_8k, np.zeros(pitch.WINDOW, np.float32)))
        count = min(len(self._at_24k) // FRAME, (len(self._at_8k) - pitch.WINDOW) // hop + 1)
        if count <= 0:
            return
        power = np.mean(self._at_24k[: count * FRAME].reshape(count, FRAME).astype(float) ** 2, axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(self._at_8k, pitch.WINDOW)[: count * hop : hop]
        hertz, strength = np.zeros(count), np.zeros(count)
        audible = np.flatnonzero(power > AUDIBLE)
        hertz[audible], strength[audible] = pitch.find_pitch(windows[audible])
        self._power.append(power)
        self._hertz.append(hertz)
        self._strength.append(strength)
        self._at_24k = self._at_24k[count * FRAME :]
        self._at_8k = self._at_8k[count * hop :]

    def speech(self) -> tuple[Speech, float | None]:
        """The speech, and its median pitch in hertz when it has one."""
        if not self._power:
            return find_speech(np.zeros(0), np.zeros(0, bool)), None
        periodic = np.concatenate(self._strength) >= pitch.PERIODIC
        speech = find_speech(np.concatenate(self._power), periodic)
        voiced = np.concatenate(self._hertz)[periodic & speech.frames]
        return speech, float(np.median(voiced)) if len(voiced) else None

    def loudness(self) -> float | None:
        return self._loudness.integrated()
