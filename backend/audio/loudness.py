"""Loudness and true peak (ITU-R BS.1770-4) of a stream in constant memory, by FFmpeg's `ebur128` filter."""

import av
import numpy as np
from av.filter import Graph

SAMPLE_RATE = 24_000
INTEGRATED = "lavfi.r128.I"  # the filter adds them to the frames that complete 100 ms
TRUE_PEAK = "lavfi.r128.true_peak"
GATE = -70.0  # LUFS: the absolute gate of BS.1770, which the filter reports while nothing is louder


class LoudnessMeter:
    """Add samples (mono, 24 kHz, any number at a time), then read `integrated` and `true_peak_db`."""

    def __init__(self, *, true_peak: bool = False) -> None:
        self._graph = Graph()
        self._graph.threads = 1  # threads of a worker count towards its memory limit
        source = self._graph.add_abuffer(sample_rate=SAMPLE_RATE, format="flt", layout="mono")
        meter = self._graph.add("ebur128", "metadata=1:framelog=quiet" + ":peak=true" * true_peak)
        self._graph.link_nodes(source, meter, self._graph.add("abuffersink")).configure()
        self._samples = 0
        self._integrated = GATE
        self._peak = 0.0  # of the samples: the filter leaves out those after the last 100 ms

    def add(self, samples: np.ndarray) -> None:
        if not len(samples):  # FFmpeg has no empty frames
            return
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32).reshape(1, -1), "flt", "mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self._samples
        self._samples += len(samples)
        self._peak = max(self._peak, float(np.abs(samples).max()))
        self._graph.push(frame)
        self._read()

    def integrated(self) -> float | None:
        """LUFS; None when nothing is loud enough to measure, or there are not 400 ms."""
        return self._integrated if self._integrated > GATE else None

    def true_peak_db(self) -> float:
        """Decibels of full scale, of the signal between the samples too."""
        return float(20 * np.log10(max(self._peak, 1e-9)))

    def _read(self) -> None:
        while True:
            try:
                measured = self._graph.pull()
            except BlockingIOError:  # the filter needs more samples
                return
            self._integrated = float(measured.metadata.get(INTEGRATED, self._integrated))
            self._peak = max(self._peak, float(measured.metadata.get(TRUE_PEAK, 0.0)))
