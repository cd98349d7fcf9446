"""The job of an audio worker: decode once, measure, and write the cleaned sample."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import msgspec
import numpy as np
from msgspec import Struct

from backend.audio import denoise, speakers, voice_activity
from backend.audio.channels import ChannelMixer
from backend.audio.clean import Cleaned, Cut, without_silence, write_clean
from backend.audio.decode import NOT_AUDIO, Source, open_source
from backend.audio.inspection_frames import PREPARED_RATE, WAV_HEADER, Cleaning, Inspection, InspectionJob
from backend.audio.levels import LevelMeter
from backend.audio.measures import Measured, SpeechMeter
from backend.audio.noise import Noise
from backend.audio.remaining import remaining_snr
from backend.audio.tracks import TrackSplitter, write_rows
from backend.sandbox.errors import InputRefused

# A header may count the padding of its encoder, or round.
TRUNCATED_SECONDS, TRUNCATED_SHARE = 0.25, 0.02
TOLERATED_SECONDS = 0.1  # over the maximum: what a container adds
RECORDED, CLEAN = 0, 1  # the tracks
SUPPRESSED_BELOW_DB = 30.0  # a sample with less noise than that keeps its sound
COARSE_CODECS = frozenset({"pcm_u8", "pcm_s8"})


def load() -> None:
    """Before the worker gives up its rights."""
    denoise.load()
    voice_activity.load()
    speakers.load()


class Heard(Struct, frozen=True, kw_only=True):
    """A decoded file: its tracks are written, and measured."""

    source: Source
    levels: LevelMeter
    mixer: ChannelMixer
    splitter: TrackSplitter
    measured: Measured
    noise: Noise | None
    cut: Cut
    track: int  # of what a provider gets

    @property
    def is_suppressed(self) -> bool:
        return self.track == CLEAN


def handle(request: bytes, files: Sequence[BinaryIO]) -> bytes:
    job = msgspec.msgpack.decode(request, type=InspectionJob)
    return msgspec.msgpack.encode(examine(*files, max_seconds=job.max_seconds))


def examine(
    original: BinaryIO, tracks: BinaryIO, prepared: BinaryIO | None = None, *, max_seconds: float
) -> Inspection:
    """`tracks` is an empty temporary file."""
    heard = hear(original, tracks, max_seconds=max_seconds)
    noise, measured, cut = heard.noise, heard.measured, heard.cut
    cleaned = write_clean(tracks, heard.track, cut, prepared)
    similarity = speakers.speaker_similarity(tracks, heard.track, cut, measured.speech.frames)
    snr_after = noise.snr_db if noise else None
    if noise is not None and heard.is_suppressed:
        snr_after = remaining_snr(heard.splitter, tracks, measured.speech.frames, noise)
    cleaning = _cleaning(heard.mixer, cut, cleaned, heard.is_suppressed, snr_after)
    return _inspection(heard.source, heard.levels, measured, noise, cut, cleaning, similarity)


def hear(original: BinaryIO, tracks: BinaryIO, *, max_seconds: float) -> Heard:
    """Decode once. What is longer than `max_seconds` is refused where its header says so, and else cut."""
    with open_source(original) as source:
        if (source.expected_seconds or 0.0) > max_seconds + TOLERATED_SECONDS:
            raise too_long(source.expected_seconds or 0.0, max_seconds)
        levels = LevelMeter(source.channels, coarse=source.codec in COARSE_CODECS)
        mixer = ChannelMixer(source.channels, source.sample_rate)
        splitter, meter, rows = TrackSplitter(source.sample_rate), SpeechMeter(), 0
        for samples, last in _mono(source, levels, mixer, max_seconds + TOLERATED_SECONDS):
            both = splitter.add(samples, last=last)
            meter.add(both, last=last)
            write_rows(tracks, both)
            rows += len(both)
    if not source.samples:
        raise InputRefused("invalid_format", NOT_AUDIO)
    measured = meter.finish()
    noise = measured.noise(denoised=splitter.can_denoise)
    suppress = noise is not None and splitter.can_denoise and noise.snr_db < SUPPRESSED_BELOW_DB
    cut = without_silence(measured.speech.sounds, rows, round(max_seconds * PREPARED_RATE))
    return Heard(
        source=source,
        levels=levels,
        mixer=mixer,
        splitter=splitter,
        measured=measured,
        noise=noise,
        cut=cut,
        track=CLEAN if suppress else RECORDED,
    )


def too_long(seconds: float, most: float) -> InputRefused:
    return InputRefused(
        "sample_too_long",
        f"sample too long: {seconds:.1f} s, at most {most:g} s",
        {"seconds": round(seconds, 3), "limit": most},
    )


def _mono(
    source: Source, levels: LevelMeter, mixer: ChannelMixer, max_seconds: float
) -> Iterator[tuple[np.ndarray, bool]]:
    """Blocks, each with whether it is the last."""
    for block in source.blocks(max_seconds):
        levels.add(block)
        yield mixer.add(block), False
    yield mixer.rest(), True


def _cleaning(
    mixer: ChannelMixer, cut: Cut, cleaned: Cleaned, suppressed: bool, snr_db: float | None
) -> Cleaning:
    return Cleaning(
        noise_suppressed=suppressed,
        snr_db=_rounded(snr_db),
        gain_db=round(cleaned.gain_db, 1),
        loudness_lufs=_rounded(cleaned.lufs),
        true_peak_dbtp=round(cleaned.true_peak_dbtp, 1),
        trimmed_start_seconds=round(cut.start / PREPARED_RATE, 2),
        trimmed_end_seconds=round((cut.of - cut.end) / PREPARED_RATE, 2),
        dc_offset=round(mixer.dc_offset, 4),
        inverted_channels=mixer.inverted,
        dead_channels=mixer.dead,
    )


def _inspection(
    source: Source,
    levels: LevelMeter,
    measured: Measured,
    noise: Noise | None,
    cut: Cut,
    cleaning: Cleaning,
    similarity: float | None,
) -> Inspection:
    speech, promised = measured.speech, source.declared_seconds
    # What is missing in the middle is damage; what is missing at the end was cut off.
    missing = (promised or 0.0) * (1 - source.damaged_share) - source.seconds
    cut_off = source.ends_early or missing > max(TRUNCATED_SECONDS, TRUNCATED_SHARE * (promised or 0.0))
    return Inspection(
        container=source.container,
        codec=source.codec,
        content_type=source.content_type,
        bytes=source.size,
        sample_rate=source.sample_rate,
        channels=source.channels,
        seconds=round(source.seconds, 3),
        cut_short=source.cut_short,
        declared_seconds=None if promised is None else round(promised, 3),
        truncated=cut_off and not source.cut_short,
        damaged_share=round(source.damaged_share, 4),
        voiced_seconds=round(speech.voiced_seconds, 2),
        longest_speech_seconds=round(speech.longest_seconds, 2),
        other_sound_seconds=round(measured.other_seconds(), 2),
        silence_ratio=round(max(0.0, 1 - speech.voiced_seconds / source.seconds), 3),
        peak_dbfs=round(levels.peak_dbfs, 1),
        clipped_share=round(levels.clipped_share, 5),
        loudness_lufs=_rounded(measured.loudness_lufs),
        noise_floor_dbfs=round(measured.noise_floor_db, 1),
        snr_db=_rounded(noise and noise.snr_db),
        echo_db=_rounded(noise and noise.echo_db),
        tonal_noise=measured.tonal_residual,
        pitch_hz=_rounded(measured.pitch_hz),
        speaker_similarity=None if similarity is None else round(similarity, 2),
        prepared_seconds=round(cut.count / PREPARED_RATE, 3),
        prepared_bytes=WAV_HEADER + 2 * cut.count,
        cleaning=cleaning,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
