"""What inspection reports for real audio in every supported container, and for files that are not audio."""

import struct
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import av
import numpy as np
import pytest
from msgspec import structs

from backend.audio.decode import MAX_PACKETS, MAX_SAMPLES, open_source
from backend.audio.inspect import MAX_SECONDS, AudioInspector
from backend.audio.inspection_frames import Inspection
from backend.domains.samples.findings import check, warnings
from backend.providers.base import Limits
from backend.sandbox.errors import InputRefused
from tests import audio_samples as samples
from tests.audio_mixtures import RATE, clean_speech

LIMITS = Limits(min_seconds=3, max_seconds=20, max_bytes=10 << 20, min_sample_rate=8_000, max_characters=600)


@pytest.fixture(scope="module")
async def inspector() -> AsyncIterator[AudioInspector]:
    inspector = AudioInspector(workers=1)
    yield inspector
    await inspector.aclose()


def codes(inspection: Inspection, limits: Limits = LIMITS) -> list[str]:
    return [finding.code for finding in check(inspection, limits)]


async def test_a_clear_recording_passes_and_its_measures_are_plausible(inspector: AudioInspector) -> None:
    speech, rate = samples.speech()
    seen = await inspector.inspect(samples.recording())
    assert codes(seen) == []
    assert (seen.content_type, seen.codec, seen.sample_rate, seen.channels) == (
        "audio/wav",
        "pcm_s16le",
        rate,
        1,
    )
    assert seen.seconds == pytest.approx(len(speech) / rate, abs=0.001)
    assert seen.declared_seconds == pytest.approx(seen.seconds, abs=0.001)
    assert 0.6 * seen.seconds < seen.voiced_seconds <= seen.seconds
    assert seen.silence_ratio == pytest.approx(1 - seen.voiced_seconds / seen.seconds, abs=0.001)
    assert seen.peak_dbfs == pytest.approx(20 * np.log10(np.abs(speech).max()), abs=0.1)
    assert seen.snr_db is not None
    assert seen.snr_db > 25
    assert seen.pitch_hz is not None
    assert 70 < seen.pitch_hz < 300


@pytest.mark.parametrize(
    ("name", "codec", "rate", "content_type"),
    [
        ("a.mp3", "libmp3lame", 44_100, "audio/mpeg"),
        ("a.m4a", "aac", 44_100, "audio/mp4"),
        ("a.webm", "libopus", 48_000, "audio/webm"),
        pytest.param("a.ogg", "libopus", 48_000, "audio/ogg", marks=pytest.mark.long),
        ("a.flac", "flac", 48_000, "audio/flac"),
        ("a.wav", "pcm_f32le", 44_100, "audio/wav"),
        ("b.wav", "pcm_u8", 16_000, "audio/wav"),
        pytest.param("c.wav", "pcm_mulaw", 8_000, "audio/wav", marks=pytest.mark.long),
        ("a.aiff", "pcm_s16be", 44_100, "audio/aiff"),
    ],
)
async def test_the_same_speech_passes_in_every_container(
    name: str, codec: str, rate: int, content_type: str, inspector: AudioInspector, tmp_path: Path
) -> None:
    speech, speech_rate = samples.speech()
    seen = await inspector.inspect(samples.encoded(tmp_path / name, codec, rate))
    assert codes(seen) == []
    assert (seen.content_type, seen.sample_rate, seen.truncated) == (content_type, rate, False)
    assert seen.seconds == pytest.approx(len(speech) / speech_rate, abs=0.15)


async def test_the_content_decides_whatever_the_name_says(inspector: AudioInspector, tmp_path: Path) -> None:
    lying = samples.encoded(tmp_path / "a.mp3", "libmp3lame", 44_100).rename(tmp_path / "a.wav")
    assert (await inspector.inspect(lying)).content_type == "audio/mpeg"


async def test_the_prepared_wav_is_24_khz_mono_16_bit_and_the_same_speech(
    inspector: AudioInspector, tmp_path: Path
) -> None:
    speech, rate = samples.speech()
    stereo = tmp_path / "stereo.wav"
    stereo.write_bytes(samples.wav(np.repeat(np.stack([speech, speech * 0.5]), 2, axis=1), 2 * rate))
    seen = await inspector.inspect(stereo, prepared=tmp_path / "prepared.wav")
    assert (seen.channels, seen.sample_rate) == (2, 2 * rate)
    assert codes(seen) == []
    assert (tmp_path / "prepared.wav").stat().st_size == seen.prepared_bytes
    with wave.open(str(tmp_path / "prepared.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert file.getnframes() / 24_000 == pytest.approx(seen.prepared_seconds, abs=0.001)
    again = await inspector.inspect(tmp_path / "prepared.wav")
    assert again.pitch_hz == pytest.approx(seen.pitch_hz, rel=0.02)
    assert again.loudness_lufs == pytest.approx(seen.cleaning.loudness_lufs, abs=0.2)


def giant_header() -> bytes:
    whole = samples.wav(samples.speech()[0][:478], samples.speech()[1])
    return whole[:40] + struct.pack("<I", 200_000_000) + whole[44:]


NOT_AUDIO: dict[str, Callable[[], bytes]] = {
    "a text file named wav": lambda: b"Dear listener, this is not audio.\n" * 500,
    "an empty file": lambda: b"",
    "a header and nothing else": lambda: samples.recording().read_bytes()[:44],
    "half a header": lambda: samples.recording().read_bytes()[:20],
    "zeros": lambda: bytes(100_000),
    "noise": lambda: np.random.default_rng(7).bytes(100_000),
    "a playlist naming another file": lambda: (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:8,\n{samples.recording()}\n#EXT-X-ENDLIST\n".encode()
    ),
    "a script naming another file": lambda: f"ffconcat version 1.0\nfile '{samples.recording()}'\n".encode(),
    "sixty-four channels": lambda: patched(22, "<H", 64),
    "a sample rate of four gigahertz": lambda: patched(24, "<I", 0xFFFF_FFF0),
}


def patched(at: int, layout: str, value: int) -> bytes:
    whole = bytearray(samples.recording().read_bytes())
    struct.pack_into(layout, whole, at, value)
    return bytes(whole)


@pytest.mark.parametrize("what", NOT_AUDIO)
async def test_what_is_no_audio_is_an_invalid_format(
    what: str, inspector: AudioInspector, tmp_path: Path
) -> None:
    (tmp_path / "sample.wav").write_bytes(NOT_AUDIO[what]())
    with pytest.raises(InputRefused) as refused:
        await inspector.inspect(tmp_path / "sample.wav", prepared=tmp_path / "prepared.wav")
    assert refused.value.code == "invalid_format"
    assert not (tmp_path / "prepared.wav").exists()


async def test_a_video_without_sound_is_an_invalid_format(inspector: AudioInspector, tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="no audio in it") as refused:
        await inspector.inspect(samples.video_only(tmp_path / "film.mp4"))
    assert refused.value.code == "invalid_format"


async def test_a_truncated_wav_says_what_its_header_promised(
    inspector: AudioInspector, tmp_path: Path
) -> None:
    whole = samples.wav(np.resize(samples.speech()[0], 8 * samples.speech()[1]), samples.speech()[1])
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2 + 500])
    seen = await inspector.inspect(tmp_path / "cut.wav")
    first = check(seen, LIMITS)[0]
    assert (first.code, first.measured, first.required) == ("sample_truncated", seen.seconds, 8.0)
    assert first.message == "the file ends before the 8.0 s its header promises: 4.0 s are there"
    assert seen.voiced_seconds > 2


@pytest.mark.parametrize(("name", "codec"), [("a.flac", "flac"), ("a.wav", "pcm_s24le")])
async def test_other_headers_are_held_to_their_promise_too(
    name: str, codec: str, inspector: AudioInspector, tmp_path: Path
) -> None:
    whole = samples.encoded(tmp_path / name, codec, 24_000)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert "sample_truncated" in codes(await inspector.inspect(whole))


@pytest.mark.parametrize("claimed", [0, 0x7FFF_FF00, 0xFFFF_FFFF])
async def test_a_header_written_before_its_audio_promises_nothing(
    claimed: int, inspector: AudioInspector, tmp_path: Path
) -> None:
    (tmp_path / "streamed.wav").write_bytes(patched(40, "<I", claimed))
    seen = await inspector.inspect(tmp_path / "streamed.wav")
    assert (seen.declared_seconds, codes(seen)) == (None, [])


async def test_a_header_of_200_mb_in_a_file_of_1_kb_is_truncated_and_too_short(
    inspector: AudioInspector, tmp_path: Path
) -> None:
    (tmp_path / "giant.wav").write_bytes(giant_header())
    seen = await inspector.inspect(tmp_path / "giant.wav")
    assert codes(seen)[:2] == ["sample_truncated", "sample_too_short"]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("hour.flac", "flac"), ("hour.wav", "pcm_s16le"), ("hour.mp3", "libmp3lame"), ("hour.webm", "libopus")],
)
async def test_a_file_that_states_its_length_is_refused_before_it_is_decoded(
    name: str, codec: str, inspector: AudioInspector, tmp_path: Path
) -> None:
    rate = 48_000 if codec == "libopus" else 8_000
    whole = samples.silence(tmp_path / name, codec, 3600 if codec == "flac" else 100, rate)
    if codec != "pcm_s16le":  # whose length is no longer than its data
        whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(InputRefused) as refused:
        await inspector.inspect(whole, max_seconds=60)
    assert refused.value.code == "sample_too_long"
    assert refused.value.details["seconds"] == pytest.approx(3600 if codec == "flac" else 100, abs=0.2)


async def test_a_file_that_does_not_state_its_length_is_decoded_up_to_the_maximum_only(
    inspector: AudioInspector, tmp_path: Path
) -> None:
    seen = await inspector.inspect(samples.silence(tmp_path / "long.aac", "aac", 60, 8_000), max_seconds=4)
    assert (seen.seconds, seen.cut_short, seen.truncated, seen.loudness_lufs) == (4.1, True, False, None)
    found = check(seen, structs.replace(LIMITS, max_seconds=4))
    assert [each.code for each in found] == ["sample_too_long", "sample_silent"]
    assert found[0].message == "sample too long: at least 4.1 s, at most 4 s"


def second_and_eight() -> np.ndarray:
    speech, rate = samples.speech()
    return speech[: round(1.8 * rate)]


def clipped() -> np.ndarray:
    return np.clip(samples.speech()[0] * 12, -1, 1)


def noisy() -> np.ndarray:
    speech = samples.speech()[0]
    noise = np.random.default_rng(1).standard_normal(len(speech))
    return speech * 0.5 + noise * 0.3 * np.sqrt(np.mean(speech**2))


def hum() -> np.ndarray:
    return 0.3 * np.sign(np.sin(2 * np.pi * 120 * np.arange(6 * samples.speech()[1]) / samples.speech()[1]))


def one_word_in_ten_seconds() -> np.ndarray:
    speech, rate = samples.speech()
    return np.concatenate([np.zeros(9 * rate), speech[rate // 2 : 3 * rate // 2]])


BAD: list[tuple[Callable[[], np.ndarray], list[str], str]] = [
    (second_and_eight, ["sample_too_short"], "sample too short: 1.8 s, at least 3 s"),
    (
        lambda: np.tile(samples.speech()[0], 3)[: 21 * samples.speech()[1]],
        ["sample_too_long"],
        "21.0 s, at most 20 s",
    ),
    (lambda: np.zeros(5 * samples.speech()[1]), ["sample_silent"], "no speech was found in 5.0 s"),
    (hum, ["sample_silent"], "no speech was found"),
    (clipped, ["sample_clipped"], "sample clipped"),
    (noisy, ["sample_noisy"], "dB above the noise, at least 10 dB"),
    (lambda: samples.speech()[0] * 0.02, ["sample_too_quiet"], "LUFS, at least -45"),
    (one_word_in_ten_seconds, ["sample_too_short"], "s of 10.0 s, at least 2 s"),
]


@pytest.mark.parametrize(("make", "expected", "words"), BAD, ids=[words for *_, words in BAD])
async def test_a_bad_sample_says_what_was_measured_and_what_would_pass(
    make: Callable[[], np.ndarray],
    expected: list[str],
    words: str,
    inspector: AudioInspector,
    tmp_path: Path,
) -> None:
    (tmp_path / "bad.wav").write_bytes(samples.wav(make(), samples.speech()[1]))
    found = check(await inspector.inspect(tmp_path / "bad.wav"), LIMITS)
    assert [each.code for each in found][: len(expected)] == expected
    assert words in found[0].message


async def test_four_seconds_are_taken_with_a_warning(inspector: AudioInspector, tmp_path: Path) -> None:
    (tmp_path / "short.wav").write_bytes(samples.wav(clean_speech(4.0), RATE))
    seen = await inspector.inspect(tmp_path / "short.wav")
    assert codes(seen) == []
    assert [(each.code, each.measured, each.required) for each in warnings(seen, LIMITS)] == [
        ("sample_short", 4.0, 5.0)
    ]


async def test_what_is_refused_is_no_warning(inspector: AudioInspector, tmp_path: Path) -> None:
    (tmp_path / "clipped.wav").write_bytes(samples.wav(clipped(), samples.speech()[1]))
    seen = await inspector.inspect(tmp_path / "clipped.wav")
    assert "sample_clipped" in codes(seen)
    assert "sample_clipped" not in [each.code for each in warnings(seen, LIMITS)]


async def test_a_file_with_holes_is_damaged(inspector: AudioInspector, tmp_path: Path) -> None:
    path = samples.encoded(tmp_path / "a.m4a", "aac", 44_100)
    holed = bytearray(path.read_bytes())
    for at in range(10_000, len(holed) - 20_000, 2_000):
        holed[at : at + 1_000] = b"\xff" * 1_000
    path.write_bytes(holed)
    assert "sample_damaged" in codes(await inspector.inspect(path))


async def test_an_mp3_that_turns_into_another_is_damaged(inspector: AudioInspector, tmp_path: Path) -> None:
    first = samples.encoded(tmp_path / "a.mp3", "libmp3lame", 44_100)
    second = samples.encoded(tmp_path / "b.mp3", "libmp3lame", 22_050)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(InputRefused) as refused:
        await inspector.inspect(first)
    assert refused.value.code == "sample_damaged"


async def test_each_provider_is_held_against_its_own_limits(inspector: AudioInspector) -> None:
    seen = await inspector.inspect(samples.recording())
    strict = Limits(
        min_seconds=30, max_seconds=60, max_bytes=100_000, min_sample_rate=8_000, max_characters=1
    )
    found = {"easy": check(seen, LIMITS), "strict": check(seen, strict)}
    assert found["easy"] == []
    assert [(each.code, each.required) for each in found["strict"]] == [
        ("sample_too_large", 100_000),
        ("sample_too_short", 30),
    ]


async def test_a_file_over_the_byte_limit_is_never_opened(tmp_path: Path) -> None:
    inspector = AudioInspector(max_bytes=1_000)
    with pytest.raises(InputRefused) as refused:
        await inspector.inspect(samples.recording())
    assert refused.value.code == "sample_too_large"
    assert inspector.pool.process_ids == []


# -- bombs: small files that would decode to much


def wide_flac(path: Path, seconds: int, declared_samples: int) -> Path:
    """Eight channels of silence at 384 kHz, whose header says something else about its length."""
    with av.open(path, "w") as container:
        stream = container.add_stream("flac", rate=384_000, layout="7.1")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8 * 65_535), np.int16), format="s16", layout="7.1")
        frame.sample_rate = 384_000
        for number in range(seconds * 384_000 // 65_535):
            frame.pts = number * 65_535
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    content = bytearray(path.read_bytes())
    content[21] = content[21] & 0xF0 | declared_samples >> 32  # the last 36 bits of what STREAMINFO describes
    content[22:26] = (declared_samples & 0xFFFFFFFF).to_bytes(4)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("seconds", "declared"), [(1, 100 * 384_000), (30, 0)], ids=["the header tells", "the header lies"]
)
async def test_a_sample_with_too_many_samples_is_refused_before_it_is_decoded_whole(
    seconds: int, declared: int, inspector: AudioInspector, tmp_path: Path
) -> None:
    bomb = wide_flac(tmp_path / "bomb.flac", seconds, declared)
    assert bomb.stat().st_size < 200_000
    with pytest.raises(InputRefused) as refused:
        await inspector.inspect(bomb, prepared=tmp_path / "prepared.wav")
    assert (refused.value.code, refused.value.details["channels"]) == ("too_many_samples", 8)
    assert not (tmp_path / "prepared.wav").exists()


async def test_the_samples_that_are_decoded_of_any_file_are_bounded(tmp_path: Path) -> None:
    with wide_flac(tmp_path / "bomb.flac", 30, 0).open("rb") as file, open_source(file) as source:
        decoded = 0
        with pytest.raises(InputRefused, match="384000 Hz"):  # noqa: PT012 - each block is counted
            for block in source.blocks(600):
                decoded += block.size
    assert decoded <= MAX_SAMPLES


async def test_three_minutes_in_stereo_are_decoded(tmp_path: Path) -> None:
    long = samples.silence(tmp_path / "long.flac", "flac", 180, 48_000, "stereo")
    with long.open("rb") as file, open_source(file) as source:
        assert sum(block.size for block in source.blocks(MAX_SECONDS)) == 180 * 48_000 * 2


async def test_a_file_of_countless_packets_is_refused(inspector: AudioInspector, tmp_path: Path) -> None:
    empty_frame = bytes.fromhex("fff15c4000fffc")  # of AAC: a header and nothing else
    (tmp_path / "many.aac").write_bytes(empty_frame * (MAX_PACKETS + 10))
    with pytest.raises(InputRefused):
        await inspector.inspect(tmp_path / "many.aac")
