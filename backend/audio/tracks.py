"""Two tracks of what was recorded: as it is, and without its noise; aligned, at 24 kHz."""

from typing import BinaryIO

import numpy as np
import soxr

from backend.audio import denoise

SAMPLE_RATE = 24_000
ROW = 8  # bytes of a sample of both tracks, as they are kept


class TrackSplitter:
    """Add mono samples of the recording's rate; rows × (recorded, clean) come back, some of them later."""

    def __init__(self, sample_rate: int) -> None:
        self._denoiser = denoise.take()
        self._recorded = Resampler(sample_rate, SAMPLE_RATE)
        self._fast = Resampler(sample_rate, denoise.SAMPLE_RATE)
        self._clean = Resampler(denoise.SAMPLE_RATE, SAMPLE_RATE)
        self._pending = [np.zeros(0, np.float32), np.zeros(0, np.float32)]

    @property
    def can_denoise(self) -> bool:
        return self._denoiser is not None

    def add(self, samples: np.ndarray, *, last: bool = False) -> np.ndarray:
        recorded = self._recorded.add(samples, last=last)
        if self._denoiser is None:
            return np.stack((recorded, recorded), axis=1)
        fast = self._denoiser.add(self._fast.add(samples, last=last), last=last)
        clean = self._clean.add(fast, last=last)
        both = [np.concatenate(each) for each in zip(self._pending, (recorded, clean), strict=True)]
        if last:  # the resamplers may differ by a sample
            both[1] = np.pad(both[1], (0, max(0, len(both[0]) - len(both[1]))))[: len(both[0])]
        count = min(map(len, both))
        self._pending = [each[count:] for each in both]
        return np.stack([each[:count] for each in both], axis=1)

    def again(self, clean: np.ndarray) -> np.ndarray:
        """A part of the clean track, cleaned once more; for what is still taken off. Ends the stream."""
        if self._denoiser is None:
            return clean
        self._denoiser.restart()
        fast = Resampler(SAMPLE_RATE, denoise.SAMPLE_RATE).add(clean, last=True)
        return Resampler(denoise.SAMPLE_RATE, SAMPLE_RATE).add(self._denoiser.add(fast, last=True), last=True)


class Resampler:
    """Add samples, any number at a time. At the same rate they come back as they are."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        same = from_rate == to_rate
        self._stream = None if same else soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32")

    def add(self, samples: np.ndarray, *, last: bool = False) -> np.ndarray:
        samples = np.ascontiguousarray(samples, np.float32)
        return samples if self._stream is None else self._stream.resample_chunk(samples, last=last)


def write_rows(file: BinaryIO, rows: np.ndarray) -> None:
    file.write(rows.astype("<f4").tobytes())


def read_track(file: BinaryIO, track: int, first: int, count: int) -> np.ndarray:
    """Of the rows that were written: samples of one track."""
    file.seek(first * ROW)
    data = file.read(count * ROW)
    return np.frombuffer(data, "<f4").reshape(-1, 2)[:, track]
