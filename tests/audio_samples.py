"""Audio for tests: a recording where one lies beside the checkout, else a spoken one, and its variants."""

import io
import wave
from functools import cache
from pathlib import Path

import av
import numpy as np

from scripts.local.sample import speak_sample

ROOT = Path(__file__).parents[1]
RECORDING = ROOT.parent / "shared" / "samples" / "reading-female-en.wav"
SPOKEN = ROOT / ".local" / "cache" / "spoken-sample.wav"


def recording() -> Path:
    """Seven seconds and more of clear speech, mono, 16-bit WAV."""
    return RECORDING if RECORDING.exists() else spoken()


@cache
def spoken() -> Path:
    SPOKEN.parent.mkdir(parents=True, exist_ok=True)
    speak_sample(SPOKEN, pitch=95)  # between men and women, to be moved either way
    return SPOKEN


@cache
def speech() -> tuple[np.ndarray, int]:
    """The recording as floats, and its sample rate."""
    return read_wav(recording().read_bytes())


def read_wav(data: bytes) -> tuple[np.ndarray, int]:
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return samples.astype(np.float32) / 32768, file.getframerate()


def wav(samples: np.ndarray, rate: int) -> bytes:
    """16-bit; two rows are two channels."""
    rows = np.atleast_2d(samples)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((len(rows), 2, rate, 0, "NONE", "not compressed"))
        file.writeframes(np.clip(np.rint(rows.T * 32767), -32768, 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def encoded(path: Path, codec: str, rate: int, *, samples: np.ndarray | None = None) -> Path:
    """The recording in another codec and container; the name's extension chooses both."""
    source, source_rate = speech() if samples is None else (samples, rate)
    pcm = np.clip(source * 32767, -32768, 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = source_rate
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        resampler = av.AudioResampler(
            stream.codec_context.format, "mono", rate, stream.codec_context.frame_size
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def silence(path: Path, codec: str, seconds: int, rate: int = 24_000, layout: str = "mono") -> Path:
    """Digital silence; an hour of FLAC takes half a megabyte."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, rate * stream.channels), np.int16), format="s16", layout=layout
        )
        frame.sample_rate = rate
        for second in range(seconds):
            frame.pts = second * rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def video_only(path: Path) -> Path:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    return path
