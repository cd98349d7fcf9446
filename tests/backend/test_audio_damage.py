"""Files that were cut off or damaged: what is missing is found, in each container."""

import io
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pytest

from backend.audio.containers import ends_early, has_length
from backend.audio.inspect import AudioInspector
from backend.audio.inspection_frames import Inspection
from backend.domains.samples.findings import check
from backend.providers.base import Limits
from backend.sandbox.errors import InputRefused
from tests.audio_mixtures import RATE, clean_speech
from tests.audio_samples import encoded

LIMITS = Limits(min_seconds=1, max_seconds=60, max_bytes=10 << 20, min_sample_rate=8_000, max_characters=600)
CODECS = {
    "a.mp3": ("libmp3lame", 44_100),
    "a.ogg": ("libopus", 48_000),
    "a.webm": ("libopus", 48_000),
    "a.aiff": ("pcm_s16be", 44_100),
    "a.au": ("pcm_s16be", 44_100),
    "a.caf": ("pcm_s16le", 44_100),
    "a.w64": ("pcm_s16le", 44_100),
    "a.flac": ("flac", 44_100),
    "a.m4a": ("aac", 44_100),
    "a.aac": ("aac", 44_100),
    "a.wav": ("pcm_s16le", 44_100),
}


@pytest.fixture(scope="module")
async def inspector() -> AsyncIterator[AudioInspector]:
    inspector = AudioInspector(workers=1)
    yield inspector
    await inspector.aclose()


def written(folder: Path, name: str, seconds: float = 3.5) -> Path:
    codec, rate = CODECS[name]
    return encoded(folder / name, codec, rate, samples=upsampled(clean_speech(seconds), rate))


def upsampled(samples: np.ndarray, rate: int) -> np.ndarray:
    times = np.arange(round(len(samples) / RATE * rate)) / rate
    return np.interp(times, np.arange(len(samples)) / RATE, samples).astype(np.float32)


async def first_fault(inspector: AudioInspector, path: Path) -> str | None:
    try:
        seen: Inspection = await inspector.inspect(path)
    except InputRefused as error:
        return error.code
    return next((finding.code for finding in check(seen, LIMITS)), None)


@pytest.mark.parametrize("name", [name for name in CODECS if name != "a.aac"])
async def test_the_first_part_of_a_file_is_truncated(
    name: str, inspector: AudioInspector, tmp_path: Path
) -> None:
    path = written(tmp_path, name)
    assert not ends_early(io.BytesIO(path.read_bytes()))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert await first_fault(inspector, path) == "sample_truncated"


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.webm", "a.flac", "a.m4a", "a.aac"])
async def test_a_file_whose_middle_third_is_random_is_damaged(
    name: str, inspector: AudioInspector, tmp_path: Path
) -> None:
    path = written(tmp_path, name)
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = np.random.default_rng(0).bytes(third)
    path.write_bytes(content)
    assert await first_fault(inspector, path) == "sample_damaged"


async def test_an_mp3_without_a_count_of_its_frames_is_damaged_too(
    inspector: AudioInspector, tmp_path: Path
) -> None:
    path = written(tmp_path, "a.mp3")
    content = bytearray(path.read_bytes())
    start = content.index(b"Info")
    content[start : start + 4] = bytes(4)
    path.write_bytes(content)
    assert not has_length(io.BytesIO(path.read_bytes()), "mp3")
    assert await first_fault(inspector, path) is None
    third = len(content) // 3
    content[third : 2 * third] = np.random.default_rng(0).bytes(third)
    path.write_bytes(content)
    assert await first_fault(inspector, path) == "sample_damaged"


async def test_a_recording_that_a_browser_streams_is_whole_without_a_length(
    inspector: AudioInspector, tmp_path: Path
) -> None:
    """The segment has no size and the file no duration, as MediaRecorder writes it."""
    path = written(tmp_path, "a.webm")
    content = bytearray(path.read_bytes())
    segment = content.index(b"\x18\x53\x80\x67") + 4
    content[segment : segment + 8] = b"\x01" + b"\xff" * 7
    duration = content.index(b"\x44\x89\x88")
    content[duration : duration + 11] = b"\xec\x89" + bytes(9)  # Void, of the same length
    cut = content[: len(content) * 6 // 10]
    path.write_bytes(content)
    assert not has_length(io.BytesIO(path.read_bytes()), "matroska")
    assert await first_fault(inspector, path) is None
    path.write_bytes(cut)
    assert await first_fault(inspector, path) == "sample_truncated"


HOSTILE = {
    "an Ogg page without an end": b"OggS",
    "Matroska of one byte": b"\x1a\x45\xdf\xa3",
    "Matroska of empty elements": b"\x1a\x45\xdf\xa3\x80" + b"\xec\x80" * 100_000,
    "Matroska of zeros": b"\x1a\x45\xdf\xa3" + bytes(1_000),
    "boxes of no length": b"\0\0\0\0ftyp" * 10,
    "boxes of one byte": b"\0\0\0\2ftyp" * 10,
    "a box of all that there is": b"\0\0\0\1ftyp" + b"\xff" * 16,
    "chunks of a negative length": b"caff\0\1\0\0" + b"data" + b"\xff" * 8,
    "W64 of zeros": b"riff\x2e\x91\xcf\x11" + bytes(500),
    "W64 of the largest length": b"riff\x2e\x91\xcf\x11" + b"\xff" * 500,
    "an ID3 tag beyond the end": b"ID3\3\0\0" + struct.pack(">I", 0x7F7F7F7F),
}


class Counted:
    """A file that counts how often it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek
        self.reads = 0

    def read(self, size: int) -> bytes:
        self.reads += 1
        return self._file.read(size)


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_containers_are_read_in_few_steps(what: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(HOSTILE[what])
    with path.open("rb") as file:
        counted = Counted(file)
        ends_early(cast(BinaryIO, counted))
        has_length(cast(BinaryIO, counted), "mp3")
    assert counted.reads < 25_000
