"""The languages in which Cartesia clones and speaks, ISO 639-1 (`tl` is Tagalog)."""

# fmt: off
LANGUAGES = frozenset({
    "ar", "bg", "bn", "cs", "da", "de", "el", "en", "es", "fi", "fr", "gu", "he", "hi", "hr", "hu",
    "id", "it", "ja", "ka", "kn", "ko", "ml", "mr", "ms", "nl", "no", "or", "pa", "pl", "pt", "ro",
    "ru", "sk", "sv", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "zh",
})
# fmt: on
