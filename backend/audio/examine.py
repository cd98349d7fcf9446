"""The job of an audio worker: decode once, and in that pass measure and write the prepared WAV."""

import contextlib
import os
import wave
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import msgspec
import numpy as np
import soxr

from backend.audio.decode import NOT_AUDIO, Source, open_source
from backend.audio.inspect import PREPARED_RATE, WAV_HEADER, Inspection, InspectionJob
from backend.audio.measures import LevelMeter, SpeechMeter
from backend.sandbox.errors import InputRefused

# A header may count the padding of its encoder, or round.
TRUNCATED_SECONDS, TRUNCATED_SHARE = 0.25, 0.02


def handle(request: bytes, files: Sequence[BinaryIO]) -> bytes:
    job = msgspec.msgpack.decode(request, type=InspectionJob)
    return msgspec.msgpack.encode(examine(*files, max_seconds=job.max_seconds))


def examine(original: BinaryIO, prepared: BinaryIO | None = None, *, max_seconds: float) -> Inspection:
    levels, speech = LevelMeter(), SpeechMeter()
    written = 0
    with open_source(original) as source, contextlib.ExitStack() as stack:
        wav = (
            stack.enter_context(wave.open(stack.enter_context(buffered(prepared)), "wb"))
            if prepared
            else None
        )
        if wav is not None:
            wav.setparams((1, 2, PREPARED_RATE, 0, "NONE", "not compressed"))
        for samples, last in _mono(source, levels, max_seconds):
            speech.add(samples, last=last)
            written += len(samples)
            if wav is not None:
                wav.writeframesraw(pcm16(samples))
    if not source.samples:
        raise InputRefused("invalid_format", NOT_AUDIO)
    return _inspection(source, original.seek(0, os.SEEK_END), levels, speech, written)


def buffered(file: BinaryIO) -> BinaryIO:
    """Over a descriptor of its own: a raw file may write less than it is given."""
    return os.fdopen(os.dup(file.fileno()), "wb")


def pcm16(samples: np.ndarray) -> bytes:
    return np.clip(np.rint(samples * 32767.0), -32768, 32767).astype("<i2").tobytes()


def _mono(source: Source, levels: LevelMeter, max_seconds: float) -> Iterator[tuple[np.ndarray, bool]]:
    """Blocks at 24 kHz, each with whether it is the last, which is the rest of the resampler."""
    resampler = soxr.ResampleStream(source.sample_rate, PREPARED_RATE, 1, dtype="float32")
    for block in source.blocks(max_seconds):
        levels.add(block)
        yield resampler.resample_chunk(np.ascontiguousarray(block.mean(axis=0))), False
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True), True


def _inspection(
    source: Source, size: int, levels: LevelMeter, meter: SpeechMeter, written: int
) -> Inspection:
    speech, pitch_hz = meter.speech()
    promised = source.declared_seconds
    missing = (promised or 0.0) - source.seconds
    return Inspection(
        container=source.container,
        codec=source.codec,
        content_type=source.content_type,
        bytes=size,
        sample_rate=source.sample_rate,
        channels=source.channels,
        seconds=round(source.seconds, 3),
        cut_short=source.cut_short,
        declared_seconds=None if promised is None else round(promised, 3),
        truncated=not source.cut_short
        and missing > max(TRUNCATED_SECONDS, TRUNCATED_SHARE * (promised or 0.0)),
        damaged_share=round(source.damaged / max(1, source.packets), 4),
        voiced_seconds=round(speech.voiced_seconds, 2),
        longest_speech_seconds=round(speech.longest_seconds, 2),
        silence_ratio=round(max(0.0, 1 - speech.voiced_seconds / source.seconds), 3),
        peak_dbfs=round(levels.peak_dbfs, 1),
        clipped_share=round(levels.clipped_share, 5),
        loudness_lufs=_rounded(meter.loudness()),
        noise_floor_dbfs=round(speech.noise_floor_db, 1),
        snr_db=_rounded(speech.snr_db),
        pitch_hz=_rounded(pitch_hz),
        prepared_bytes=WAV_HEADER + 2 * written,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
