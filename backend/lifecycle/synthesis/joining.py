"""Clips of speech, joined without clicks: faded at each join, with a pause between them."""

import io
import sys
import wave
from array import array
from collections.abc import Sequence

from backend.providers.wav import pcm_wav

FADE_SECONDS = 0.005


def join_clips(clips: Sequence[bytes], pauses: Sequence[float]) -> bytes:
    """One WAV of WAVs of 16 bits and one channel. `pauses`: seconds after each clip but the last.

    One clip is returned as it is. Raises ValueError where a clip is no such WAV, or their rates differ.
    """
    if len(clips) == 1:
        return clips[0]
    if len(pauses) != len(clips) - 1:
        raise ValueError("a pause for each join")
    joined = bytearray()
    rate = 0
    for number, clip in enumerate(clips):
        samples, own_rate = _read(clip)
        rate = rate or own_rate
        if own_rate != rate:
            raise ValueError(f"clips of {rate} Hz and {own_rate} Hz")
        _fade(samples, round(FADE_SECONDS * rate), starts=number > 0, ends=number < len(pauses))
        joined += _swapped(samples).tobytes()
        if number < len(pauses):
            joined += bytes(2 * round(pauses[number] * rate))
    return pcm_wav(bytes(joined), rate)


def _read(clip: bytes) -> "tuple[array[int], int]":
    try:
        with wave.open(io.BytesIO(clip)) as file:
            shape = (file.getsampwidth(), file.getnchannels())
            rate, pcm = file.getframerate(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError("not a WAV file") from error
    if shape != (2, 1):
        raise ValueError("not 16 bits and one channel")
    samples = array("h")
    samples.frombytes(pcm[: len(pcm) & ~1])
    return _swapped(samples), rate


def _swapped(samples: "array[int]") -> "array[int]":
    """WAV is little-endian."""
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _fade(samples: "array[int]", length: int, *, starts: bool, ends: bool) -> None:
    """In place, from zero and to zero."""
    length = min(length, len(samples) // 2)
    for at in range(length):
        if starts:
            samples[at] = samples[at] * at // length
        if ends:
            samples[-1 - at] = samples[-1 - at] * at // length
