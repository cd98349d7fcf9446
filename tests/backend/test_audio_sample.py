"""The synthesized sample that tests use when there is no human recording."""

from pathlib import Path

from backend.audio.inspect import AudioInspector
from backend.domains.samples.findings import check
from backend.providers.base import Limits
from scripts.local.sample import TEXT, speak_sample

STRICT = Limits(
    min_seconds=8,
    max_seconds=60,
    max_bytes=10 << 20,
    min_sample_rate=24_000,
    min_voiced_seconds=5,
    max_characters=1,
)


async def test_a_spoken_sample_passes_as_a_recording_and_is_the_same_each_time(tmp_path: Path) -> None:
    assert speak_sample(tmp_path / "one.wav") == speak_sample(tmp_path / "two.wav") == TEXT
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()
    inspector = AudioInspector(workers=1)
    assert check(await inspector.inspect(tmp_path / "one.wav"), STRICT) == []
    await inspector.aclose()
