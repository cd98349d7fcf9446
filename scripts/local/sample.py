"""Speak a sample, where no recording is available: `python -m scripts.local.sample sample.wav`."""

import os
import subprocess
import sys
import wave
from pathlib import Path

from backend.providers.local.engine import SAMPLE_RATE, Utterance, speak_here

ROOT = Path(__file__).parents[2]
TEXT = (
    "The north wind and the sun were arguing about which of them was the stronger, when a traveller came "
    "along, wrapped in a warm cloak. They agreed that whoever first made the traveller take it off should be "
    "considered the stronger one."
)


def speak_sample(
    path: Path, text: str = TEXT, *, language: str = "en", pitch: int = 50, rate: int = 165
) -> str:
    """Write it as 16-bit mono WAV, the same bytes each time, and return its transcript."""
    arguments = [
        sys.executable,
        "-m",
        "scripts.local.sample",
        str(path),
        text,
        language,
        str(pitch),
        str(rate),
    ]
    subprocess.run(arguments, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return text


def main(path: str, text: str = TEXT, language: str = "en", pitch: str = "50", rate: str = "165") -> None:
    """In a fresh process, because espeak-ng repeats itself only from a fresh start."""
    utterance = Utterance(text=text, language=language, pitch=int(pitch), rate=int(rate))
    with wave.open(path, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", "not compressed"))
        file.writeframes(speak_here(utterance))


if __name__ == "__main__":
    main(*sys.argv[1:])
