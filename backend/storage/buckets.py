"""The buckets of supabase/config.toml that more than one package names."""

SAMPLE_BUCKET = "voice-samples"  # uploads, and the prepared WAV of each
SPEECH_BUCKET = "speeches"  # what speech jobs have spoken
RECORDING_BUCKET = "recordings"  # of employees: one object each, {employee_id}/{employee_id}.wav
LOCAL_VOICES = "local-voices"
REFERENCE_VOICES = "reference-voices"  # of self-hosted models
