"""What travels between the service and the worker that examines spoken consents."""

from typing import Literal

from msgspec import Struct

LOCALES = frozenset({"en"})  # of the model that pocketsphinx has inside
LONGEST_SENTENCE = 20.0  # seconds
LONGEST_SAMPLE = 180.0
LEAST_SPEECH_SECONDS = 2.0  # in each: shorter speech says nothing of who speaks


class SpokenJob(Struct, frozen=True, kw_only=True):
    sentence: str
    words_needed: float


class SpokenFindings(Struct, frozen=True, kw_only=True):
    """`words`: how like the words are, of 1. `speaker`: the cosine of the voices; None if not compared."""

    words: float
    speaker: float | None = None
    too_short: Literal["recording", "sample"] | None = None
