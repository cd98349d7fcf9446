"""The buckets that more than one package names."""

from msgspec import Struct

SAMPLE_BUCKET = "voice-samples"  # uploads, and the prepared WAV of each
PREVIEW_BUCKET = "voice-previews"  # clips that the user must hear before the launch
SPEECH_BUCKET = "speeches"  # what speech jobs have spoken
RECORDING_BUCKET = "recordings"  # of employees: one object each, {employee_id}/{employee_id}.wav
EMPLOYEE_FILE_BUCKET = "deep-fakes"  # which voice of an employee is ready: {employee_id}/{employee_id}.json
LOCAL_VOICES = "local-voices"
REFERENCE_VOICES = "reference-voices"  # of self-hosted models
ANCHOR_BUCKET = "consent-anchors"  # signed heads of the ledger of consents: one JWS each


class Needs(Struct, frozen=True):
    """What the migrations make a bucket with: the most megabytes of an object, and a type that it accepts."""

    megabytes: int
    content_type: str


BUCKETS = {
    SAMPLE_BUCKET: Needs(10, "audio/wav"),
    PREVIEW_BUCKET: Needs(10, "audio/wav"),
    SPEECH_BUCKET: Needs(50, "audio/wav"),
    RECORDING_BUCKET: Needs(50, "audio/wav"),
    EMPLOYEE_FILE_BUCKET: Needs(1, "application/json"),
    LOCAL_VOICES: Needs(1, "application/json"),
    REFERENCE_VOICES: Needs(1, "application/json"),
    ANCHOR_BUCKET: Needs(1, "application/jose"),
}
