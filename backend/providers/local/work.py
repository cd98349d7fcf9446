"""A worker's work: measure a voice, or speak in one."""

import io
import wave
from collections.abc import Sequence
from typing import BinaryIO

import msgspec
import numpy as np
import soxr

from backend.audio.pcm import pcm16
from backend.providers.local import engine
from backend.providers.local.jobs import Measure, Speak
from backend.providers.local.match import say
from backend.providers.local.measure import SAMPLE_RATE, measure
from backend.sandbox.errors import InputRefused

MAY_FORK = True  # engine.py does
load = engine.load


def handle(request: bytes, _files: Sequence[BinaryIO]) -> bytes:
    job = msgspec.msgpack.decode(request, type=Measure | Speak)
    if isinstance(job, Speak):
        return _wav(say(job.text, job.language, job.measures))
    measures = measure(_samples(job.wav))
    if measures is None:
        raise InputRefused("sample_silent", "There is no voiced speech in the sample.")
    return msgspec.msgpack.encode(measures)


def _samples(data: bytes) -> np.ndarray:
    try:
        with wave.open(io.BytesIO(data)) as file:
            shape = (file.getnchannels(), file.getsampwidth())
            rate, pcm = file.getframerate(), file.readframes(file.getnframes())
    except (wave.Error, EOFError):
        shape, rate, pcm = None, 0, b""
    if shape != (1, 2) or not 8_000 <= rate <= 192_000:
        raise InputRefused("invalid_format", "The sample is not a WAV of 16 bits and one channel.")
    samples = np.frombuffer(pcm[: len(pcm) & ~1], "<i2").astype(np.float32) / 32768
    return soxr.resample(samples, rate, SAMPLE_RATE)


def _wav(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        file.writeframes(pcm16(samples))
    return buffer.getvalue()
