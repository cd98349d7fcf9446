"""Qwen's error codes as our kinds. A dotted code that is not listed is taken by its first part."""

import re

from backend.providers.base import ErrorKind
from backend.providers.http import (
    FULL,
    MISCONFIGURED,
    QUOTA_EXCEEDED,
    REJECTED,
    SAMPLE_TOO_LARGE,
    THROTTLED,
    UNAVAILABLE,
    VOICE_NOT_FOUND,
    Failure,
)

_UNDECODABLE = Failure(
    ErrorKind.REJECTED,
    "invalid_format",
    "The voice provider could not decode the sample. WAV, MP3 or M4A pass.",
)
_REFUSED_SAMPLE = Failure(
    ErrorKind.REJECTED,
    "sample_rejected",
    "The voice provider found too little clear speech in the sample, or other words than its transcript.",
)
_REFUSED_TEXT = Failure(ErrorKind.REJECTED, "text_rejected", "The voice provider refuses this content.")
SAMPLE_UNREACHABLE = Failure(
    ErrorKind.UNAVAILABLE, "sample_unreachable", "The voice provider could not download the sample."
)

ERRORS: dict[str, Failure] = {
    "Audio": Failure(ErrorKind.REJECTED, "sample_rejected", "The voice provider refused the sample."),
    "Audio.PreprocessError": _REFUSED_SAMPLE,
    "Audio.DecoderError": _UNDECODABLE,
    "Audio.AudioRateError": Failure(
        ErrorKind.REJECTED, "sample_rate_too_low", "The sample's rate is too low: at least 24 kHz passes."
    ),
    "Audio.DurationLimitError": Failure(
        ErrorKind.REJECTED, "sample_too_long", "The sample is too long: at most 60 s pass."
    ),
    "Audio.AudioShortError": Failure(ErrorKind.REJECTED, "sample_too_short", "The sample is too short."),
    "Audio.AudioSilentError": Failure(ErrorKind.REJECTED, "sample_silent", "The sample is silent."),
    "BadRequest.VoiceNotFound": VOICE_NOT_FOUND,
    "BadRequest.InputDownloadFailed": SAMPLE_UNREACHABLE,
    "BadRequest.TooLarge": SAMPLE_TOO_LARGE,
    "BadRequest.UnsupportedFileFormat": _UNDECODABLE,
    "InvalidURL": SAMPLE_UNREACHABLE,
    "InvalidParameter.DataInspection": SAMPLE_UNREACHABLE,
    "DataInspectionFailed": _REFUSED_TEXT,
    "InvalidParameter": REJECTED,
    "InvalidApiKey": MISCONFIGURED,
    "AccessDenied": MISCONFIGURED,
    "AccessDenied.Unpurchased": MISCONFIGURED,
    "Model.AccessDenied": MISCONFIGURED,
    "Workspace.AccessDenied": MISCONFIGURED,
    "AllocationQuota.FreeTierOnly": QUOTA_EXCEEDED,
    "Arrearage": QUOTA_EXCEEDED,
    "ModelNotFound": MISCONFIGURED,
    "WorkSpaceNotFound": MISCONFIGURED,
    "Throttling": THROTTLED,
    "Throttling.RateQuota": THROTTLED,
    "Throttling.BurstRate": THROTTLED,
    "Throttling.AllocationQuota": THROTTLED,  # as 429; as 400 it is the limit of stored voices
    "InternalError": UNAVAILABLE,
    "InternalError.Algo": UNAVAILABLE,
    "RequestTimeOut": UNAVAILABLE,
    "ModelUnavailable": UNAVAILABLE,
}

# No code of its own is documented for a sample URL that has expired; the words tell.
_UNREACHABLE_WORDS = re.compile(
    r"download|url.{0,40}(expired|access|fetch|reach)|expired.{0,40}url", re.IGNORECASE
)


def known(status: int, code: str | None, message: str | None) -> Failure | None:
    if not code:
        return None
    if status == 400 and code == "Throttling.AllocationQuota":
        return FULL
    failure = ERRORS.get(code) or ERRORS.get(code.partition(".")[0])
    if status < 500 and failure in (None, REJECTED) and _UNREACHABLE_WORDS.search(message or ""):
        return SAMPLE_UNREACHABLE
    return failure
