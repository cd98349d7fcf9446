"""The first bytes of the formats that samples are sent in."""

import os
from typing import BinaryIO

HEAD_BYTES = 16  # of a file, that are enough to tell its format
MAGIC = (  # offset, bytes, content type
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"\x1a\x45\xdf\xa3", "audio/webm"),
    (4, b"ftyp", "audio/mp4"),
)
ID3, ID3_BYTES = b"ID3", 10  # a tag before the audio, and its header
MOST_TAGS = 8


def wav_or_mp3(head: bytes) -> str | None:
    """The content type of a file that begins so; None where it is neither WAV nor MP3."""
    if head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE":
        return "audio/wav"
    return "audio/mpeg" if head[:3] == ID3 or is_mp3_frame(head) else None


def is_mp3_frame(head: bytes) -> bool:
    """Eleven bits, a version, layer III, and a bit rate and a sample rate that there are."""
    return (
        len(head) > 2
        and head[0] == 0xFF
        and head[1] & 0xE6 == 0xE2
        and head[1] & 0x18 != 0x08
        and head[2] & 0xF0 != 0xF0
        and head[2] & 0x0C != 0x0C
    )


def wav_or_mp3_of(file: BinaryIO) -> str | None:
    """The same of a whole file, from its start. A tag of an MP3 may stand before other formats as well.

    What follows the tag is an MP3 unless it is known to be something else: some tags are longer than told.
    """
    file.seek(0)
    found = wav_or_mp3(head := file.read(HEAD_BYTES))
    size = file.seek(0, os.SEEK_END)
    at, tags = 0, 0
    while head[:3] == ID3 and len(head) >= ID3_BYTES and tags < MOST_TAGS:
        at, tags = min(size, at + tag_bytes(head)), tags + 1
        file.seek(at)
        head = file.read(HEAD_BYTES)
    file.seek(0)
    return None if tags and is_other(head) else found


def tag_bytes(head: bytes) -> int:
    """With its header: four times seven bits."""
    return ID3_BYTES + sum((byte & 127) << 7 * (3 - place) for place, byte in enumerate(head[6:10]))


def is_other(head: bytes) -> bool:
    """A format that is known, and neither WAV nor MP3; AAC too, whose frames begin like those of an MP3."""
    is_aac = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    return is_aac or any(head[at : at + len(magic)] == magic for at, magic, _ in MAGIC)


def audio_format(head: bytes) -> str | None:
    """The content type of a file that begins so; None where it is of no format that can be cloned."""
    found = (kind for at, magic, kind in MAGIC if head[at : at + len(magic)] == magic)
    return wav_or_mp3(head) or next(found, None)
