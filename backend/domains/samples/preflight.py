"""Preflight: what a sample is worth at each configured provider, measure by measure, in words."""

from collections.abc import Iterator, Mapping
from uuid import UUID

from msgspec import Struct, structs

from backend.audio.inspection_frames import PREPARED_RATE, Inspection
from backend.domains.samples.findings import Finding, check
from backend.domains.samples.refusals import (
    MAX_CLIPPED_SHARE,
    MAX_DAMAGED_SHARE,
    MIN_LOUDNESS_LUFS,
    MIN_SAMPLE_RATE,
    MIN_SECONDS,
    MIN_SNR_DB,
    MIN_VOICED_SECONDS,
    below,
)
from backend.providers.base import Limits, VoiceProvider


class Measure(Struct, frozen=True, kw_only=True):
    """One measure against its limit: met where no finding is about it. The limits are in its unit."""

    measure: str
    measured: float | str | None
    at_least: float | None = None
    at_most: float | None = None
    is_met: bool = True
    words: str


class Preflight(Struct, frozen=True, kw_only=True, rename="camel"):
    """What cloning the sample at one provider would find."""

    provider: str
    fits: bool
    measures: list[Measure]
    findings: list[Finding]


class Report(Struct, frozen=True, kw_only=True, rename="camel"):
    """Warnings are about the sample itself, whatever the provider."""

    sample_id: UUID
    status: str
    providers: list[Preflight]
    warnings: list[Finding]


def preflights(
    seen: Inspection, language: str | None, providers: Mapping[str, VoiceProvider]
) -> list[Preflight]:
    return [preflight(seen, language, providers[name]) for name in sorted(providers)]


def preflight(seen: Inspection, language: str | None, provider: VoiceProvider) -> Preflight:
    limits = provider.limits
    findings = check(seen, limits)
    refused = {finding.field for finding in findings}
    audio = [
        structs.replace(measure, is_met=measure.measure not in refused)
        for measure in (*of_file(seen, limits), *of_speech(seen, limits))
    ]
    spoken = of_language(language, limits)
    return Preflight(
        provider=provider.name,
        fits=not findings and spoken.is_met,
        measures=[*audio, spoken],
        findings=findings,
    )


def of_file(seen: Inspection, limits: Limits) -> Iterator[Measure]:
    least = max(MIN_SECONDS, limits.min_seconds)
    yield Measure(
        measure="seconds",
        measured=seen.seconds,
        at_least=least,
        at_most=limits.max_seconds,
        words=f"{below(seen.seconds)} s of audio; {least:g} to {limits.max_seconds:g} s are taken",
    )
    yield Measure(
        measure="prepared_seconds",
        measured=seen.prepared_seconds,
        at_least=least,
        words=f"{below(seen.prepared_seconds)} s without the silence at its ends; at least {least:g} s",
    )
    rate = max(MIN_SAMPLE_RATE, limits.min_sample_rate if limits.min_sample_rate > PREPARED_RATE else 0)
    yield Measure(
        measure="sample_rate",
        measured=seen.sample_rate,
        at_least=rate,
        words=f"recorded with {seen.sample_rate} Hz; at least {rate} Hz",
    )
    yield Measure(
        measure="damaged_share",
        measured=seen.damaged_share,
        at_most=MAX_DAMAGED_SHARE,
        words=f"{100 * seen.damaged_share:.1f} % of it damaged; at most {100 * MAX_DAMAGED_SHARE:g} %",
    )
    yield Measure(
        measure="prepared_bytes",
        measured=seen.prepared_bytes,
        at_most=limits.max_bytes,
        words=f"{seen.prepared_bytes} bytes as 24 kHz WAV; at most {limits.max_bytes}",
    )


def of_speech(seen: Inspection, limits: Limits) -> Iterator[Measure]:
    voiced = max(MIN_VOICED_SECONDS, limits.min_voiced_seconds)
    yield Measure(
        measure="voiced_seconds",
        measured=seen.voiced_seconds,
        at_least=voiced,
        words=f"{below(seen.voiced_seconds)} s of speech; at least {voiced:g} s",
    )
    loudness, snr = seen.loudness_lufs, seen.snr_db
    yield Measure(
        measure="loudness_lufs",
        measured=loudness,
        at_least=MIN_LOUDNESS_LUFS,
        words="too short or too quiet to measure its loudness"
        if loudness is None
        else f"{loudness:g} LUFS loud; at least {MIN_LOUDNESS_LUFS:g}",
    )
    yield Measure(
        measure="snr_db",
        measured=snr,
        at_least=MIN_SNR_DB,
        words="no speech to compare with the noise"
        if snr is None
        else f"speech {snr:g} dB above the noise; at least {MIN_SNR_DB:g} dB",
    )
    yield Measure(
        measure="clipped_share",
        measured=seen.clipped_share,
        at_most=MAX_CLIPPED_SHARE,
        words=f"{100 * seen.clipped_share:.1f} % of it clipped; at most {100 * MAX_CLIPPED_SHARE:g} %",
    )


def of_language(language: str | None, limits: Limits) -> Measure:
    names = ["any language"] if limits.languages is None else sorted(limits.languages)
    taken = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} taken"
    return Measure(
        measure="language",
        measured=language,
        is_met=limits.languages is None or language in limits.languages,
        words=f"spoken in {language or 'an unknown language'}; {taken}",
    )
