"""The preflight of a sample: each measure against each provider's limit, in words."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from backend.audio.inspection_frames import Cleaning, Inspection
from backend.domains.samples.formats import audio_format, wav_or_mp3, wav_or_mp3_of
from backend.domains.samples.forms import sent_content_type
from backend.domains.samples.preflight import Preflight, of_file, of_language, of_speech, preflight
from backend.errors import InvalidFormat
from backend.providers.base import Limits
from tests.audio_samples import encoded

LIMITS = Limits(min_seconds=10, max_seconds=60, max_bytes=10_000_000, min_sample_rate=8_000, max_characters=1)
GOOD = Inspection(
    container="wav", codec="pcm_s16le", content_type="audio/wav", bytes=576_000, sample_rate=24_000,
    channels=1, seconds=12.0, cut_short=False, declared_seconds=12.0, truncated=False, damaged_share=0.0,
    voiced_seconds=9.0, longest_speech_seconds=4.0, silence_ratio=0.2, peak_dbfs=-3.0, clipped_share=0.0,
    loudness_lufs=-20.0, noise_floor_dbfs=-60.0, snr_db=30.0, pitch_hz=120.0, prepared_bytes=576_044,
    other_sound_seconds=0.0, echo_db=None, tonal_noise=False, speaker_similarity=None, prepared_seconds=11.5,
    cleaning=Cleaning(
        noise_suppressed=False, snr_db=30.0, gain_db=2.0, loudness_lufs=-18.0, true_peak_dbtp=-2.0,
        trimmed_start_seconds=0.2, trimmed_end_seconds=0.3, dc_offset=0.0, inverted_channels=0,
        dead_channels=0,
    ),
)  # fmt: skip


class Provider:
    """What a preflight needs of one."""

    name = "acme"

    def __init__(self, **changes: Any) -> None:
        self.limits = structs.replace(LIMITS, **changes)


def seen(language: str = "en", limits: dict[str, Any] | None = None, **changes: Any) -> Preflight:
    provider: Any = Provider(**(limits or {}))
    return preflight(structs.replace(GOOD, **changes), language, provider)


def words(found: Preflight, measure: str) -> tuple[bool, str]:
    (one,) = (each for each in found.measures if each.measure == measure)
    return one.is_met, one.words


def test_a_good_sample_fits_and_each_measure_is_in_words() -> None:
    found = seen()
    assert found.fits
    assert found.findings == []
    assert [each.measure for each in found.measures] == [
        "seconds", "prepared_seconds", "sample_rate", "damaged_share", "prepared_bytes", "voiced_seconds",
        "loudness_lufs", "snr_db", "clipped_share", "language",
    ]  # fmt: skip
    assert words(found, "seconds") == (True, "12.0 s of audio; 10 to 60 s are taken")
    assert words(found, "snr_db") == (True, "speech 30 dB above the noise; at least 10 dB")
    assert words(found, "clipped_share") == (True, "0.0 % of it clipped; at most 0.5 %")


def test_a_measure_that_is_not_met_is_a_finding_as_well() -> None:
    for changes, measure in [
        ({"seconds": 9.96, "prepared_seconds": 9.9}, "seconds"),
        ({"seconds": 61.0}, "seconds"),
        ({"sample_rate": 4_000}, "sample_rate"),
        ({"damaged_share": 0.3}, "damaged_share"),
        ({"prepared_bytes": 20_000_000}, "prepared_bytes"),
        ({"prepared_seconds": 9.0}, "prepared_seconds"),
        ({"voiced_seconds": 1.0}, "voiced_seconds"),
        ({"loudness_lufs": -50.0}, "loudness_lufs"),
        ({"snr_db": 4.0}, "snr_db"),
        ({"clipped_share": 0.02}, "clipped_share"),
    ]:
        found = seen(**changes)
        assert not found.fits, measure
        assert [each.measure for each in found.measures if not each.is_met] == [measure]
        assert [each.field for each in found.findings] == [measure]


def test_another_provider_may_take_what_one_refuses() -> None:
    assert not seen(seconds=5.0, prepared_seconds=5.0).fits
    assert seen(seconds=5.0, prepared_seconds=5.0, limits={"min_seconds": 3}).fits


def test_the_language_is_a_measure() -> None:
    found = seen("sv", limits={"languages": frozenset({"en", "de"})})
    assert not found.fits
    assert words(found, "language") == (False, "spoken in sv; de, en are taken")
    assert of_language(None, LIMITS).is_met


def test_what_could_not_be_measured_is_said() -> None:
    silent = structs.replace(GOOD, loudness_lufs=None, snr_db=None, voiced_seconds=0.0)
    told = {each.measure: each.words for each in (*of_file(silent, LIMITS), *of_speech(silent, LIMITS))}
    assert told["loudness_lufs"] == "too short or too quiet to measure its loudness"
    assert told["snr_db"] == "no speech to compare with the noise"


def test_wav_and_mp3_are_told_apart_by_their_first_bytes() -> None:
    assert wav_or_mp3(b"RIFF\x00\x00\x00\x00WAVEfmt ") == "audio/wav"
    assert wav_or_mp3(b"RF64\xff\xff\xff\xffWAVEds64") == "audio/wav"
    assert wav_or_mp3(b"ID3\x04\x00") == "audio/mpeg"
    assert wav_or_mp3(b"\xff\xfb\x90\x64") == "audio/mpeg"
    for head in (
        b"", b"\xff", b"\xff\xf1\x50\x80", b"OggS", b"fLaC", b"RIFF\x00\x00\x00\x00AVI ", b"hello",
        "Text of two bytes a letter".encode("utf-16"), b"\xff\xfd\x90\x64",
        b"\xff\xfb\xf0\x64", b"\xff\xfb\x9c\x64",
    ):  # fmt: skip
        assert wav_or_mp3(head) is None, head


ID3 = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)


def test_an_id3_tag_is_no_proof_of_an_mp3() -> None:
    for behind, expected in [
        (b"\xff\xfb\x90\x64", "audio/mpeg"),
        (bytes(16), "audio/mpeg"),  # the tag is longer than it says
        (b"", "audio/mpeg"),
        (b"fLaC" + bytes(16), None),
        (b"\xff\xf1\x50\x80\x00\x1f\xfc", None),
        (b"OggS" + bytes(16), None),
        (ID3 + b"fLaC", None),
        (ID3 * 20 + b"\xff\xfb\x90\x64", "audio/mpeg"),
    ]:
        file = BytesIO(ID3 + behind)
        assert wav_or_mp3_of(file) == expected, behind
        assert file.tell() == 0
    beyond = BytesIO(b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f")
    assert wav_or_mp3_of(beyond) == "audio/mpeg"
    assert wav_or_mp3_of(BytesIO(b"RIFF\x00\x00\x00\x00WAVEfmt ")) == "audio/wav"


FORMATS = [
    ("pcm_s16le", "wav", "audio/wav"),
    ("mp3", "mp3", "audio/mpeg"),
    ("flac", "flac", "audio/flac"),
    ("libopus", "ogg", "audio/ogg"),
    ("libopus", "webm", "audio/webm"),
    ("aac", "m4a", "audio/mp4"),
]


@pytest.mark.parametrize(("codec", "suffix", "content_type"), FORMATS)
def test_each_format_is_known_by_its_first_bytes(
    codec: str, suffix: str, content_type: str, tmp_path: Path
) -> None:
    with encoded(tmp_path / f"a.{suffix}", codec, 48_000).open("rb") as file:
        assert audio_format(file.read(16)) == content_type
        for declared in ("", "text/plain", "application/octet-stream", "audio/ogg; codecs=opus"):
            assert sent_content_type(file, declared) == content_type
            assert file.tell() == 0


def test_what_no_first_bytes_tell_is_taken_as_declared() -> None:
    file = BytesIO(b"\x00" * 64)
    assert sent_content_type(file, "audio/mpeg") == "audio/mpeg"
    with pytest.raises(InvalidFormat) as refused:
        sent_content_type(file, "text/plain", "file")
    assert refused.value.field == "file"
