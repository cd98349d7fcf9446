"""The buckets that more than one package names."""

SAMPLE_BUCKET = "voice-samples"  # uploads, and the prepared WAV of each
SPEECH_BUCKET = "speeches"  # what speech jobs have spoken
RECORDING_BUCKET = "recordings"  # of employees: one object each, {employee_id}/{employee_id}.wav
EMPLOYEE_FILE_BUCKET = "deep-fakes"  # which voice of an employee is ready: {employee_id}/{employee_id}.json
LOCAL_VOICES = "local-voices"
REFERENCE_VOICES = "reference-voices"  # of self-hosted models
