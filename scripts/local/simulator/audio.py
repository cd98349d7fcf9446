"""The analysis of a sample by a vendor, and the encoding of the audio that it answers with."""

import io
from typing import cast

import av
import numpy as np
from av.error import FFmpegError
from msgspec import Struct
from numpy.typing import NDArray

from scripts.local.simulator.wav import pcm_wav

LONGEST_SECONDS = 600.0
RATE = 24_000
_FRAME = RATE // 25  # 40 ms
_QUIET = 10 ** (-50 / 20)  # of full scale


class UndecodableError(Exception):
    """No audio, or none that decodes."""


class Analysis(Struct, frozen=True, kw_only=True):
    container: str  # of the content, not of the file's name
    sample_rate: int
    seconds: float
    voiced_seconds: float  # in frames above -50 dBFS
    pitch: float  # median, hertz


# What an instant simulator takes for the analysis of each sample.
STOCK = Analysis(container="wav", sample_rate=RATE, seconds=10.0, voiced_seconds=10.0, pitch=120.0)


def analyze(data: bytes) -> Analysis:
    try:
        container, sample_rate, seconds, parts = _decode(data)
    except (FFmpegError, IndexError, ValueError):
        raise UndecodableError from None
    if not parts:
        raise UndecodableError
    signal = np.concatenate(parts)
    frames = signal[: len(signal) // _FRAME * _FRAME].reshape(-1, _FRAME)
    loud = frames[np.sqrt((frames**2).mean(axis=1)) > _QUIET] if len(frames) else frames
    return Analysis(
        container=container,
        sample_rate=sample_rate,
        seconds=seconds,
        voiced_seconds=len(loud) * _FRAME / RATE,
        pitch=_pitch(loud),
    )


def _decode(data: bytes) -> tuple[str, int, float, list[NDArray[np.float32]]]:
    """Container, sample rate, seconds, and as much of the signal as is analyzed."""
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        parts, seconds = [], 0.0
        for frame in container.decode(stream):
            seconds += frame.samples / frame.sample_rate
            if seconds <= LONGEST_SECONDS:
                parts += [out.to_ndarray().reshape(-1) for out in resampler.resample(frame)]
        parts += [out.to_ndarray().reshape(-1) for out in resampler.resample(None)]
        return container.format.name, stream.rate, seconds, parts


def _pitch(frames: NDArray[np.float32]) -> float:
    """Median fundamental of the frames that have one: the strongest autocorrelation between 60 and 400 Hz."""
    if not len(frames):
        return 120.0
    frames = frames[:: max(1, len(frames) // 500)]
    spectrum = np.fft.rfft(frames, 2 * _FRAME, axis=1)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)
    lags = slice(RATE // 400, RATE // 60)
    strength = correlation[:, lags].max(axis=1) / (correlation[:, 0] + 1e-9)
    best = correlation[:, lags].argmax(axis=1) + RATE // 400
    voiced = best[strength > 0.4]
    return float(RATE / np.median(voiced)) if len(voiced) else 120.0


_ENCODERS = {  # container, codec and the sample format its encoder takes
    "mp3": ("mp3", "libmp3lame", "s16p"),
    "opus": ("ogg", "libopus", "s16"),
    "ulaw": ("mulaw", "pcm_mulaw", "s16"),
    "pcm": ("s16le", "pcm_s16le", "s16"),
    "wav": ("wav", "pcm_s16le", "s16"),
}
CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "ulaw": "audio/basic",
    "pcm": "audio/pcm",
    "wav": "audio/wav",
}


def encode(pcm: bytes, kind: str, rate: int) -> bytes:
    """16-bit mono at 24 kHz as `kind` at `rate`. KeyError when there is no such kind."""
    if rate == RATE and kind in ("pcm", "wav"):
        return pcm if kind == "pcm" else pcm_wav(pcm, rate)
    container_name, codec, sample_format = _ENCODERS[kind]
    frame = av.AudioFrame.from_ndarray(
        np.frombuffer(pcm, dtype="<i2").reshape(1, -1), format="s16", layout="mono"
    )
    frame.sample_rate = RATE
    file = io.BytesIO()
    with av.open(file, "w", format=container_name) as container:
        stream = cast(av.AudioStream, container.add_stream(codec, rate=rate, layout="mono"))
        resampler = av.AudioResampler(sample_format, "mono", rate, frame_size=stream.frame_size or 0)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))
    return file.getvalue()
