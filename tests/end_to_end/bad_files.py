"""Files that must not be cloned: how to make each, and finalize's response."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.audio_samples import silence, speech, wav


def spoken(seconds: float) -> bytes:
    samples, rate = speech()
    return wav(samples[: round(seconds * rate)], rate)


def giant_header() -> bytes:
    """A kilobyte whose header claims 200 MB."""
    content = bytearray(spoken(1)[:1024])
    content[4:8] = content[40:44] = (200_000_000).to_bytes(4, "little")
    return bytes(content)


def hour_of_silence() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return silence(Path(folder) / "hour.flac", "flac", 3600, 8000).read_bytes()


BAD_FILES: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "a text file named .wav": (
        lambda: b"This is no audio at all, whatever its name says.\n" * 50,
        400,
        "invalid_format",
    ),
    "an empty file": (lambda: b"", 400, "invalid_format"),
    "a truncated WAV": (lambda: spoken(8)[:-100_000], 422, "sample_truncated"),
    "a giant header": (giant_header, 422, "sample_truncated"),
    "an hour of silence": (hour_of_silence, 422, "sample_too_long"),
    "ten seconds of silence": (
        lambda: wav(speech()[0][:1].repeat(240_000) * 0, 24_000),
        422,
        "sample_silent",
    ),
    "1.8 seconds": (lambda: spoken(1.8), 422, "sample_too_short"),
}
