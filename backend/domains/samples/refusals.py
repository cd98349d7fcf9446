"""Why a sample is not accepted, by our own minimum and a provider's limits."""

import math
from collections.abc import Iterator

from msgspec import Struct

from backend.audio.inspection_frames import PREPARED_RATE, Inspection
from backend.providers.base import Limits

# Our own minimum, independent of the provider.
MIN_SECONDS = 3.0
MIN_VOICED_SECONDS = 2.0
MIN_SPEECH_SHARE = 0.25  # of what is left without the silence at both ends
MIN_SAMPLE_RATE = 8_000  # telephone quality
MIN_LOUDNESS_LUFS = -45.0
SILENT_LUFS = -60.0  # what is quieter is silence, and not a sound without speech
MIN_SNR_DB = 10.0
MAX_CLIPPED_SHARE = 0.005
MAX_DAMAGED_SHARE = 0.1
TOLERATED_SECONDS = 0.1  # over the maximum: what a container adds


class Finding(Struct, frozen=True, kw_only=True):
    """`field` names the measure of the inspection; `measured` and `required` are in its unit."""

    code: str
    message: str
    field: str
    measured: float | None
    required: float | None
    help: str


def check(inspection: Inspection, limits: Limits) -> list[Finding]:
    """Empty when the sample passes; else the most important one comes first."""
    return [
        *_file(inspection, limits),
        *_length(inspection, limits),
        *_quality(inspection),
    ]


def _file(seen: Inspection, limits: Limits) -> Iterator[Finding]:
    if seen.truncated:
        promised = (
            f"the {below(seen.declared_seconds)} s its header promises"
            if seen.declared_seconds
            else "it is over"
        )
        yield Finding(
            code="sample_truncated",
            message=f"the file ends before {promised}: {below(seen.seconds)} s are there",
            field="seconds",
            measured=seen.seconds,
            required=seen.declared_seconds,
            help="Upload the whole file.",
        )
    if seen.damaged_share > MAX_DAMAGED_SHARE:
        yield Finding(
            code="sample_damaged",
            message=f"{seen.damaged_share:.0%} of the sample is damaged",
            field="damaged_share",
            measured=seen.damaged_share,
            required=MAX_DAMAGED_SHARE,
            help="Save or upload the file again, from the original recording.",
        )
    if seen.sample_rate < MIN_SAMPLE_RATE or limits.min_sample_rate > PREPARED_RATE:
        least = max(MIN_SAMPLE_RATE, limits.min_sample_rate if limits.min_sample_rate > PREPARED_RATE else 0)
        yield Finding(
            code="sample_rate_too_low",
            message=f"sample rate too low: {seen.sample_rate} Hz, at least {least} Hz",
            field="sample_rate",
            measured=seen.sample_rate,
            required=least,
            help="Record at 24000 Hz or more.",
        )
    if seen.prepared_bytes > limits.max_bytes and seen.seconds <= limits.max_seconds + TOLERATED_SECONDS:
        yield Finding(
            code="sample_too_large",
            message=f"sample too large: {seen.prepared_bytes} bytes as 24 kHz WAV, "
            f"at most {limits.max_bytes}",
            field="prepared_bytes",
            measured=seen.prepared_bytes,
            required=limits.max_bytes,
            help="Cut the sample.",
        )


def _length(seen: Inspection, limits: Limits) -> Iterator[Finding]:
    least = max(MIN_SECONDS, limits.min_seconds)
    if is_too_long(seen, limits):
        bound = "at least " if seen.cut_short else ""
        yield Finding(
            code="sample_too_long",
            message=f"sample too long: {bound}{above(seen.seconds)} s, at most {limits.max_seconds:g} s",
            field="seconds",
            measured=seen.seconds,
            required=limits.max_seconds,
            help="Cut the sample.",
        )
    if seen.seconds < least:
        yield _too_short(
            f"sample too short: {below(seen.seconds)} s, at least {least:g} s", "seconds", seen.seconds, least
        )
    if seen.voiced_seconds == 0:
        yield _speechless(seen)
    else:
        yield from _speech(seen, limits, least)


def is_too_long(seen: Inspection, limits: Limits) -> bool:
    most = limits.max_seconds
    return seen.seconds > most + TOLERATED_SECONDS or (seen.cut_short and seen.seconds >= most)


def _too_short(message: str, field: str, measured: float, required: float) -> Finding:
    return Finding(
        code="sample_too_short",
        message=message,
        field=field,
        measured=measured,
        required=required,
        help=f"Speak for {math.ceil(required):g} seconds or more.",
    )


def _speechless(seen: Inspection) -> Finding:
    heard = seen.loudness_lufs is not None and seen.loudness_lufs > SILENT_LUFS
    return Finding(
        code="sample_silent",
        message=f"sample {'without speech' if heard else 'silent'}: no speech was found in "
        f"{below(seen.seconds)} s" + (" of other sound" if heard else ""),
        field="voiced_seconds",
        measured=0.0,
        required=MIN_VOICED_SECONDS,
        help="Record one person who speaks." if heard else "Check that the microphone is on.",
    )


def _speech(seen: Inspection, limits: Limits, least: float) -> Iterator[Finding]:
    voiced, kept = max(MIN_VOICED_SECONDS, limits.min_voiced_seconds), seen.prepared_seconds
    if seen.voiced_seconds < voiced:
        yield _too_short(
            f"too little speech: {below(seen.voiced_seconds)} s of {below(seen.seconds)} s, "
            f"at least {voiced:g} s",
            "voiced_seconds",
            seen.voiced_seconds,
            voiced,
        )
    elif kept < least <= seen.seconds:
        yield _too_short(
            f"sample too short: {below(kept)} s without the silence at its ends, at least {least:g} s",
            "prepared_seconds",
            kept,
            least,
        )
    elif seen.voiced_seconds < MIN_SPEECH_SHARE * kept:
        yield Finding(
            code="sample_mostly_silent",
            message=f"mostly no speech: {below(seen.voiced_seconds)} s of {below(kept)} s are speech",
            field="voiced_seconds",
            measured=seen.voiced_seconds,
            required=round(MIN_SPEECH_SHARE * kept, 2),
            help="Speak without long pauses, or cut them out.",
        )


def _quality(seen: Inspection) -> Iterator[Finding]:
    if seen.voiced_seconds == 0:  # no speech to check
        return
    if seen.loudness_lufs is not None and seen.loudness_lufs < MIN_LOUDNESS_LUFS:
        yield Finding(
            code="sample_too_quiet",
            message=f"sample too quiet: {seen.loudness_lufs:g} LUFS, at least {MIN_LOUDNESS_LUFS:g}",
            field="loudness_lufs",
            measured=seen.loudness_lufs,
            required=MIN_LOUDNESS_LUFS,
            help="Speak louder, or closer to the microphone.",
        )
    if seen.clipped_share > MAX_CLIPPED_SHARE:
        yield Finding(
            code="sample_clipped",
            message=f"sample clipped: {seen.clipped_share:.1%} of it, at most {MAX_CLIPPED_SHARE:.1%}",
            field="clipped_share",
            measured=seen.clipped_share,
            required=MAX_CLIPPED_SHARE,
            help="Record at a lower level. Turning the recording down afterwards does not help.",
        )
    if seen.snr_db is not None and seen.snr_db < MIN_SNR_DB:
        behind = "music or another tone" if seen.tonal_noise and seen.echo_db is None else "the noise"
        yield Finding(
            code="sample_noisy",
            message=f"sample noisy: speech is {seen.snr_db:g} dB above {behind}, at least {MIN_SNR_DB:g} dB",
            field="snr_db",
            measured=seen.snr_db,
            required=MIN_SNR_DB,
            help="Record in a quieter place, without music and other voices.",
        )


def below(seconds: float | None) -> str:
    """One decimal, rounded down, so that 2.96 is not shown as the 3 that would pass."""
    return f"{math.floor((seconds or 0.0) * 10 + 1e-6) / 10:.1f}"


def above(seconds: float) -> str:
    return f"{math.ceil(seconds * 10 - 1e-6) / 10:.1f}"
