"""The buckets of supabase/config.toml that more than one package names."""

SAMPLE_BUCKET = "voice-samples"  # uploads, and the prepared WAV of each
LOCAL_VOICES = "local-voices"
REFERENCE_VOICES = "reference-voices"  # of self-hosted models
