"""The buckets that more than one package names."""

SAMPLE_BUCKET = "voice-samples"  # uploads, and the prepared WAV of each
PREVIEW_BUCKET = "voice-previews"  # clips that the user must hear before the launch
SPEECH_BUCKET = "speeches"  # what speech jobs have spoken
RECORDING_BUCKET = "recordings"  # of employees: one object each, {employee_id}/{employee_id}.wav
EMPLOYEE_FILE_BUCKET = "deep-fakes"  # which voice of an employee is ready: {employee_id}/{employee_id}.json
LOCAL_VOICES = "local-voices"
REFERENCE_VOICES = "reference-voices"  # of self-hosted models

# What the migrations make them with: the most megabytes of an object.
BUCKETS = {
    SAMPLE_BUCKET: 10,
    PREVIEW_BUCKET: 10,
    SPEECH_BUCKET: 50,
    RECORDING_BUCKET: 50,
    EMPLOYEE_FILE_BUCKET: 1,
    LOCAL_VOICES: 1,
    REFERENCE_VOICES: 1,
}
