"""Peak and clipping of samples as recorded: mixing and resampling change both."""

import numpy as np

from backend.audio.speech import LOWEST_DB

SMALLEST, LARGEST = 1e-3, 4.0
BIN = 0.01  # of the logarithm: a bin is 1 % wide
BINS = int(np.log(LARGEST / SMALLEST) / BIN) + 1
LEAST_LEVEL = 0.02  # where clipping is looked for
COARSE_LEVEL = 0.25  # the same for 8 bits, whose quiet levels are far apart
PLATEAU, SLOPE = 4, 12  # bins at the level of clipping, and below it
ABOVE_SLOPE = 3.0  # times as many samples as the slope leads one to expect
ABOVE_PLATEAU = 0.25  # of the plateau's samples may be louder: clicks, and what a codec adds


class LevelMeter:
    """Clipped samples stand at one level, with few above it, also after the recording was turned down."""

    def __init__(self, channels: int, *, coarse: bool = False) -> None:
        self._peak = 0.0
        self._samples = 0
        self._counts = np.zeros((channels, 2, BINS), np.int64)  # of each channel and sign
        self._least = COARSE_LEVEL if coarse else LEAST_LEVEL

    def add(self, block: np.ndarray) -> None:
        """channels × samples"""
        size = np.abs(block)
        self._peak = max(self._peak, float(size.max(initial=0.0)))
        self._samples += block.shape[1]
        for channel, (samples, sizes) in enumerate(zip(block, size, strict=True)):
            loud = sizes > SMALLEST
            bins = (np.log(sizes[loud] / SMALLEST) / BIN).astype(np.int64)
            both = np.bincount(bins + BINS * (samples[loud] < 0), minlength=2 * BINS)
            self._counts[channel] += both.reshape(2, BINS)

    @property
    def peak_dbfs(self) -> float:
        return max(LOWEST_DB, float(20 * np.log10(max(self._peak, 1e-9))))

    @property
    def clipped_share(self) -> float:
        """Of the channel with most of it."""
        clipped = [sum(self._clipped(counts) for counts in signs) for signs in self._counts]
        return max(clipped, default=0) / max(1, self._samples)

    def _clipped(self, counts: np.ndarray) -> int:
        sums = np.concatenate(([0], np.cumsum(counts)))
        first = max(PLATEAU + SLOPE, int(np.log(self._least / SMALLEST) / BIN))
        ends = np.arange(first, BINS + 1)  # one past the last bin of each plateau
        plateau = sums[ends] - sums[ends - PLATEAU]
        slope = sums[ends - PLATEAU] - sums[ends - PLATEAU - SLOPE]
        above = sums[-1] - sums[ends]
        found = (plateau * SLOPE > ABOVE_SLOPE * PLATEAU * slope) & (above < ABOVE_PLATEAU * plateau)
        return int(np.max(plateau + above, where=found, initial=0))
