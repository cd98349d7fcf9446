"""What a container says of its own length, read from its bytes where FFmpeg does not tell.

FFmpeg plays what is there of a file, so a file that was cut off looks like a shorter one.
"""

import os
import struct
from collections.abc import Callable
from typing import BinaryIO

STREAMED_BYTES = 0x7FFF_0000
MAX_STEPS = 20_000  # elements of a file that are looked at
MAX_CHUNKS = 1_000  # of a WAV file, before its audio
OGG_PAGE = 65_307  # bytes, at most
SEGMENT, CLUSTER = 0x18538067, 0x1F43B675  # elements of Matroska that may have no size
FIRST_BYTES = 4_096


def wav_seconds(file: BinaryIO) -> float | None:
    """The seconds of audio that the header of an uncompressed WAV declares.

    None where it is unknown: a header written before the audio declares zero, or 2 GB and more.
    """
    bytes_per_second = 0
    file.seek(12)
    for _ in range(MAX_CHUNKS):
        if len(head := file.read(8)) < 8:
            break
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            return size / bytes_per_second if bytes_per_second and 0 < size < STREAMED_BYTES else None
        end = file.tell() + size + (size & 1)
        if name == b"fmt " and len(layout := file.read(16)) == 16:
            _, _, rate, _, width, _ = struct.unpack("<HHIIHH", layout)
            bytes_per_second = rate * width
        file.seek(end)
    return None


def has_length(file: BinaryIO, container: str) -> bool:
    """Whether an MP3 has a header that counts its frames, and a Matroska file its duration."""
    file.seek(0)
    start = file.read(FIRST_BYTES)
    if container == "mp3":
        if start.startswith(b"ID3"):
            seven = start[6:10]
            file.seek(10 + sum((byte & 127) << 7 * (3 - place) for place, byte in enumerate(seven)))
            start = file.read(FIRST_BYTES)
        return any(name in start[:200] for name in (b"Xing", b"Info", b"VBRI"))
    return b"\x44\x89\x88" in start or b"\x44\x89\x84" in start


def ends_early(file: BinaryIO) -> bool:
    """Whether the file ends inside of a page, an element, a box or a chunk."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(16)
    for at, magic, ends in KINDS:
        if start[at : at + len(magic)] == magic:
            return ends(file, size)
    return False


def _ogg(file: BinaryIO, size: int) -> bool:
    file.seek(max(0, size - OGG_PAGE))
    tail = file.read(OGG_PAGE)
    page = tail[tail.rfind(b"OggS") :] if b"OggS" in tail else b""
    if not page:
        return False
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return len(page) < 27 or len(lengths) < page[26] or len(page) < 27 + len(lengths) + sum(lengths)


def _matroska(file: BinaryIO, size: int) -> bool:
    at = 0
    for _ in range(MAX_STEPS):
        if at >= size:
            return False
        file.seek(at)
        head = file.read(12)
        name = _first_bits(head, keep_marker=True)
        length = _first_bits(head[name[1] :])
        if not name[1] or not length[1]:
            return len(head) < 12
        inside = at + name[1] + length[1]
        unknown = length[0] == (1 << 7 * length[1]) - 1
        if unknown and name[0] in (SEGMENT, CLUSTER):
            at = inside
        elif unknown:
            return False
        elif inside + length[0] > size or name[0] == SEGMENT:
            return inside + length[0] > size
        else:
            at = inside + length[0]
    return False


def _first_bits(data: bytes, *, keep_marker: bool = False) -> tuple[int, int]:
    """A number of variable length and its bytes, of which there are none where it is cut off or wrong."""
    length = 9 - data[0].bit_length() if data else 0
    if not data or length > 8 or length > len(data):
        return 0, 0
    value = int.from_bytes(data[:length])
    return value if keep_marker else value & ((1 << 7 * length) - 1), length


def _past_end(
    file: BinaryIO, size: int, at: int, head_bytes: int, length_of: Callable[[bytes], int | None]
) -> bool:
    """`length_of` a head is that of its chunk and itself; None where the chunk reaches to the end."""
    for _ in range(MAX_STEPS):
        file.seek(at)
        head = file.read(head_bytes)
        if len(head) < 8:
            return False
        length = length_of(head.ljust(head_bytes, b"\0"))
        if length is None or length < 8:
            return False
        at += length
        if at > size:
            return True
    return False


def _mp4(file: BinaryIO, size: int) -> bool:
    def length(head: bytes) -> int | None:
        short = int.from_bytes(head[:4])
        return int.from_bytes(head[8:16]) if short == 1 else short or None

    return _past_end(file, size, 0, 16, length)


def _caf(file: BinaryIO, size: int) -> bool:
    def length(head: bytes) -> int | None:
        inside = int.from_bytes(head[4:12], signed=True)
        return None if inside < 0 else inside + 12

    return _past_end(file, size, 8, 12, length)


def _w64(file: BinaryIO, size: int) -> bool:
    return _past_end(file, size, 40, 24, lambda head: (int.from_bytes(head[16:24], "little") + 7) & ~7)


KINDS: list[tuple[int, bytes, Callable[[BinaryIO, int], bool]]] = [
    (0, b"OggS", _ogg),
    (0, b"\x1a\x45\xdf\xa3", _matroska),
    (4, b"ftyp", _mp4),
    (0, b"caff", _caf),
    (0, b"riff\x2e\x91\xcf\x11", _w64),
]
