"""What the service asks of a worker. Imported by both sides, so nothing heavy is imported here."""

from msgspec import Struct

# ISO 639-1 → espeak-ng's voice.
VOICES = {
    "de": "de",
    "en": "en-us",
    "es": "es",
    "fr": "fr",
    "it": "it",
    "ja": "ja",
    "ko": "ko",
    "nl": "nl",
    "pl": "pl",
    "pt": "pt",
    "ru": "ru",
    "sv": "sv",
    "tr": "tr",
    "uk": "uk",
    "zh": "cmn",
}


class Measures(Struct, frozen=True, kw_only=True):
    """What is matched of a voice."""

    pitch_hz: float  # median
    pitch_span: float  # semitones from the 10th to the 90th percentile
    formant_hz: float  # geometric mean of the second to the fourth: the longer the vocal tract, the lower
    syllables_per_second: float  # of speech
    bands_db: tuple[float, ...]  # long-term spectrum, relative to its mean


class Measure(Struct, frozen=True, tag="measure"):
    wav: bytes  # 16-bit mono; the answer is Measures


class Speak(Struct, frozen=True, tag="speak"):
    text: str
    language: str
    measures: Measures  # the answer is a WAV: 24 kHz, 16-bit, mono
