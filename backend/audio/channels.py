"""Channels are aligned and chosen before they are mixed, and their DC offset is removed.

Mixing a channel with its own inverse leaves silence, and mixing with a dead one costs 6 dB. The channels are
compared over all that was heard so far. The first blocks wait until there is enough to compare; when the
comparison changes later, the weights change over a block, so that nothing clicks.
"""

import numpy as np

DEAD = 10 ** (-30 / 10)  # of the power of the loudest channel
INVERTED = -0.5  # correlation with the loudest channel
AUDIBLE = 10 ** (-60 / 10)  # mean square of a channel in a block that is compared
COMPARED_SECONDS = 2.0  # of audible blocks, before the first of them is mixed
WAITING_SAMPLES = 1_000_000  # at most, of all channels: ten seconds at 48 kHz in stereo
STEADY_SECONDS = 0.2  # a block that is shorter says nothing of the offset


class ChannelMixer:
    """Add blocks (channels × samples); mono comes back, some of it later. `rest` returns what waits."""

    def __init__(self, channels: int, sample_rate: int) -> None:
        self._rate = sample_rate
        self._products = np.zeros((channels, channels))  # of the samples of audible blocks
        self._compared = 0
        self._waiting: list[np.ndarray] = []
        self._weights: np.ndarray | None = None  # of the block before, as are the offsets
        self._offset: np.ndarray | None = None
        self._sums = np.zeros(channels)
        self._samples = 0

    def add(self, block: np.ndarray) -> np.ndarray:
        self._sums += block.sum(axis=1, dtype=float)
        self._samples += block.shape[1]
        centred = self._centre(block)
        if np.mean(centred**2, axis=1).max() > AUDIBLE:
            self._products += centred @ centred.T
            self._compared += block.shape[1]
        self._waiting.append(centred)
        undecided = len(block) > 1 and self._compared < COMPARED_SECONDS * self._rate
        if undecided and sum(each.size for each in self._waiting) < WAITING_SAMPLES:
            return np.zeros(0, np.float32)
        return self.rest()

    def rest(self) -> np.ndarray:
        mixed = [self._mix(each) for each in self._waiting]
        self._waiting = []
        return np.concatenate(mixed) if mixed else np.zeros(0, np.float32)

    @property
    def dc_offset(self) -> float:
        """Of full scale, in the channel where it is largest."""
        offsets = self._sums / max(1, self._samples)
        return float(offsets[np.argmax(np.abs(offsets))])

    @property
    def inverted(self) -> int:
        return int(np.count_nonzero(self._signs() < 0))

    @property
    def dead(self) -> int:
        """How many channels are silent beside the loudest; none where all are."""
        return int(np.count_nonzero(self._signs() == 0))

    def _centre(self, block: np.ndarray) -> np.ndarray:
        """Takes off the mean of the block, from that of the block before on, in a straight line."""
        mean = block.mean(axis=1, keepdims=True)
        before = mean if self._offset is None else self._offset
        if self._offset is None or block.shape[1] >= STEADY_SECONDS * self._rate:
            self._offset = mean
        else:
            self._offset = mean = before
        return block - (before + (mean - before) * np.linspace(0, 1, block.shape[1], dtype=np.float32))

    def _signs(self) -> np.ndarray:
        """Of each channel: 1, -1 where it is the inverse of the loudest, 0 where it is dead."""
        power = np.diag(self._products)
        loudest = int(np.argmax(power))
        if not power[loudest]:
            return np.ones(len(power))
        correlation = self._products[loudest] / np.sqrt(np.maximum(power * power[loudest], 1e-30))
        return np.where(power < DEAD * power[loudest], 0.0, np.where(correlation < INVERTED, -1.0, 1.0))

    def _mix(self, block: np.ndarray) -> np.ndarray:
        signs = self._signs()
        weights = (signs / np.count_nonzero(signs)).astype(np.float32)
        before = weights if self._weights is None else self._weights
        self._weights = weights
        if np.array_equal(before, weights):
            return weights @ block
        fade = np.linspace(0, 1, block.shape[1], dtype=np.float32)
        return (before @ block) * (1 - fade) + (weights @ block) * fade
