"""WAV files: 16-bit mono PCM, from whatever WAV a provider sends."""

import struct

_PCM, _EXTENSIBLE = 1, 0xFFFE


def pcm_wav(pcm: bytes, sample_rate: int) -> bytes:
    """16-bit mono samples under a 44-byte header. An odd last byte is half a sample: dropped."""
    pcm = pcm[: len(pcm) & ~1]
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 36 + len(pcm), b"WAVE", b"fmt ", 16, _PCM, 1, sample_rate, sample_rate * 2, 2, 16),
        *(b"data", len(pcm)),
    )
    return header + pcm


def plain_wav(data: bytes) -> bytes | None:
    """The audio with a plain 44-byte header, or None where it must be decoded (decoding.py).

    Raises ValueError if it is no WAV, or has no audio.

    A header written before the audio declares 0 bytes or 4 GB: then all that follows it is the audio.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("not a WAV file")
    layout, pcm = None, b""
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"fmt " and size >= 16:
            layout = struct.unpack_from("<HHIIHH", data.ljust(at + 24, b"\0"), at + 8)
        elif name == b"data":
            pcm = data[at + 8 :] if size in (0, 0xFFFFFFFF) else data[at + 8 : at + 8 + size]
            break
        at += 8 + size + (size & 1)
    if layout is None or not pcm:
        raise ValueError("a WAV file without audio")
    kind, channels, sample_rate, _, _, bits = layout
    if kind in (_PCM, _EXTENSIBLE) and channels == 1 and bits == 16 and sample_rate > 0:
        return pcm_wav(pcm, sample_rate)
    return None
