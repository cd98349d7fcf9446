"""Findings: why a sample is not accepted, and warnings about one that is, by our limits and a provider's.

A finding says what was measured and what is required. The most important one comes first.
"""

import math
from collections.abc import Iterator, Mapping

from msgspec import Struct

from backend.audio.inspect import PREPARED_RATE, Inspection
from backend.providers.base import Limits

# Our own minimum, independent of the provider.
MIN_SECONDS = 3.0
MIN_VOICED_SECONDS = 2.0
MIN_SAMPLE_RATE = 8_000  # telephone quality
MIN_LOUDNESS_LUFS = -45.0
MIN_SNR_DB = 10.0
MAX_CLIPPED_SHARE = 0.005
MAX_DAMAGED_SHARE = 0.1
# What passes, and would be better otherwise.
GOOD_SECONDS = 5.0
GOOD_SNR_DB = 20.0
GOOD_CLIPPED_SHARE = 0.001


class Finding(Struct, frozen=True, kw_only=True):
    """`field` names the measure of the inspection; `measured` and `required` are in its unit."""

    code: str
    message: str
    field: str
    measured: float | None
    required: float | None


def check(inspection: Inspection, limits: Limits) -> list[Finding]:
    """Empty when the sample passes."""
    return [
        *_file(inspection, limits),
        *_length(inspection, limits),
        *_quality(inspection),
    ]


def warnings(inspection: Inspection, limits: Limits) -> list[Finding]:
    """What makes the voice worse, although the sample passes. Nothing that `check` refuses is repeated."""
    refused = {finding.code for finding in check(inspection, limits)}
    return [finding for finding in _imperfections(inspection) if finding.code not in refused]


def report(inspection: Inspection, limits: Mapping[str, Limits]) -> dict[str, list[Finding]]:
    """The findings for each provider."""
    return {provider: check(inspection, each) for provider, each in limits.items()}


def _file(seen: Inspection, limits: Limits) -> Iterator[Finding]:
    if seen.truncated:
        yield Finding(
            code="sample_truncated",
            message=f"the file ends before the {below(seen.declared_seconds or 0)} s its header promises: "
            f"{below(seen.seconds)} s are there",
            field="seconds",
            measured=seen.seconds,
            required=seen.declared_seconds,
        )
    if seen.damaged_share > MAX_DAMAGED_SHARE:
        yield Finding(
            code="sample_damaged",
            message=f"{seen.damaged_share:.0%} of the sample is damaged",
            field="damaged_share",
            measured=seen.damaged_share,
            required=MAX_DAMAGED_SHARE,
        )
    if seen.sample_rate < MIN_SAMPLE_RATE or limits.min_sample_rate > PREPARED_RATE:
        least = max(MIN_SAMPLE_RATE, limits.min_sample_rate if limits.min_sample_rate > PREPARED_RATE else 0)
        yield Finding(
            code="sample_rate_too_low",
            message=f"sample rate too low: {seen.sample_rate} Hz, at least {least} Hz",
            field="sample_rate",
            measured=seen.sample_rate,
            required=least,
        )
    if seen.prepared_bytes > limits.max_bytes and seen.seconds <= limits.max_seconds:
        yield Finding(
            code="sample_too_large",
            message=f"sample too large: {seen.prepared_bytes} bytes as 24 kHz WAV, "
            f"at most {limits.max_bytes}",
            field="prepared_bytes",
            measured=seen.prepared_bytes,
            required=limits.max_bytes,
        )


def _length(seen: Inspection, limits: Limits) -> Iterator[Finding]:
    least, voiced = max(MIN_SECONDS, limits.min_seconds), max(MIN_VOICED_SECONDS, limits.min_voiced_seconds)
    if seen.seconds > limits.max_seconds:
        bound = "at least " if seen.cut_short else ""
        yield Finding(
            code="sample_too_long",
            message=f"sample too long: {bound}{above(seen.seconds)} s, at most {limits.max_seconds:g} s",
            field="seconds",
            measured=seen.seconds,
            required=limits.max_seconds,
        )
    if seen.seconds < least:
        yield Finding(
            code="sample_too_short",
            message=f"sample too short: {below(seen.seconds)} s, at least {least:g} s",
            field="seconds",
            measured=seen.seconds,
            required=least,
        )
    if seen.voiced_seconds == 0:
        yield Finding(
            code="sample_silent",
            message=f"sample silent: no speech was found in {below(seen.seconds)} s",
            field="voiced_seconds",
            measured=0.0,
            required=voiced,
        )
    elif seen.voiced_seconds < voiced:
        yield Finding(
            code="sample_too_short",
            message=f"too little speech: {below(seen.voiced_seconds)} s of {below(seen.seconds)} s, "
            f"at least {voiced:g} s",
            field="voiced_seconds",
            measured=seen.voiced_seconds,
            required=voiced,
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
        )
    if seen.clipped_share > MAX_CLIPPED_SHARE:
        yield Finding(
            code="sample_clipped",
            message=f"sample clipped: {seen.clipped_share:.1%} of it, at most {MAX_CLIPPED_SHARE:.1%}; "
            "record at a lower level",
            field="clipped_share",
            measured=seen.clipped_share,
            required=MAX_CLIPPED_SHARE,
        )
    if seen.snr_db is not None and seen.snr_db < MIN_SNR_DB:
        yield Finding(
            code="sample_noisy",
            message=f"sample noisy: speech is {seen.snr_db:g} dB above the noise, at least "
            f"{MIN_SNR_DB:g} dB; record in a quieter place",
            field="snr_db",
            measured=seen.snr_db,
            required=MIN_SNR_DB,
        )


def _imperfections(seen: Inspection) -> Iterator[Finding]:
    if MIN_SECONDS <= seen.seconds < GOOD_SECONDS:
        yield Finding(
            code="sample_short",
            message=f"short sample: {below(seen.seconds)} s; a voice sounds closer with {GOOD_SECONDS:g} s "
            "or more",
            field="seconds",
            measured=seen.seconds,
            required=GOOD_SECONDS,
        )
    if seen.clipped_share > GOOD_CLIPPED_SHARE:
        yield Finding(
            code="sample_clipped",
            message=f"some of the sample is clipped: {seen.clipped_share:.1%} of it; record at a lower level",
            field="clipped_share",
            measured=seen.clipped_share,
            required=GOOD_CLIPPED_SHARE,
        )
    if seen.snr_db is not None and seen.snr_db < GOOD_SNR_DB:
        yield Finding(
            code="sample_noisy",
            message=f"the sample is noisy: speech is {seen.snr_db:g} dB above the noise, better "
            f"{GOOD_SNR_DB:g} dB; record in a quieter place",
            field="snr_db",
            measured=seen.snr_db,
            required=GOOD_SNR_DB,
        )


def below(seconds: float) -> str:
    """One decimal, rounded down, so that 2.96 is not shown as the 3 that would pass."""
    return f"{math.floor(seconds * 10 + 1e-6) / 10:.1f}"


def above(seconds: float) -> str:
    return f"{math.ceil(seconds * 10 - 1e-6) / 10:.1f}"
