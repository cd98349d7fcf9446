"""What is mixed into speech for tests, and how far a result is from it. 24 kHz, floats."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soxr

from scripts.local.sample import speak_sample
from tests.audio_samples import RECORDING, read_wav, speech

RATE = 24_000
TEXT = (
    "The harbour was quiet that evening, and only two boats had come in before the rain began to fall again."
)


@cache
def clean_speech(seconds: float = 5.2) -> np.ndarray:
    """Of a human: the tools that measure noise take the spoken sample of the tests for a noisy one."""
    if not RECORDING.exists():
        pytest.skip("measures human speech, and no recording lies beside the checkout")
    samples, rate = speech()
    return soxr.resample(samples, rate, RATE)[: round(seconds * RATE)].astype(np.float32)


@cache
def other_voice(pitch: int) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voice.wav"
        speak_sample(path, TEXT, pitch=pitch)
        samples, rate = read_wav(path.read_bytes())
    return soxr.resample(samples, rate, RATE).astype(np.float32)


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(float) ** 2)))


def mixed(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    noise = np.resize(noise, len(samples))
    return samples + noise * (level(samples) / level(noise) * 10 ** (-snr_db / 20))


def white(seconds: float = 5.2) -> np.ndarray:
    return 0.1 * np.random.default_rng(5).standard_normal(round(seconds * RATE))


def pink(seconds: float = 5.2) -> np.ndarray:
    """From 50 Hz on, where a microphone hears."""
    spectrum = np.fft.rfft(white(seconds))
    hertz = np.fft.rfftfreq(round(seconds * RATE), 1 / RATE)
    return np.fft.irfft(np.where(hertz < 50, 0, spectrum / np.sqrt(np.maximum(hertz, 50) / 50)))


def babble(seconds: float = 5.2) -> np.ndarray:
    voices = [other_voice(pitch) for pitch in (10, 90)]
    length = round(seconds * RATE)
    return sum((np.roll(np.resize(voices[n % 2], length), n * 9_973) for n in range(8)), np.zeros(length)) / 8


def music(seconds: float = 5.2) -> np.ndarray:
    """Chords of plucked strings, two each second."""
    time = np.arange(RATE // 2) / RATE
    roots = (220.0, 174.6, 196.0, 261.6)
    chords = [
        sum(
            np.sin(2 * np.pi * root * third * overtone * time) / overtone
            for third in (1.0, 1.26, 1.5)
            for overtone in (1, 2, 3, 4)
        )
        * np.exp(-3 * time)
        for root in roots
    ]
    return 0.05 * np.resize(np.concatenate(chords), round(seconds * RATE))


def siren(seconds: float = 5.2) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return 0.2 * np.sin(2 * np.pi * np.cumsum(700 + 300 * np.sin(np.pi * time)) / RATE)


def tone(seconds: float = 5.2) -> np.ndarray:
    """Louder and softer four times a second, as syllables are."""
    time = np.arange(round(seconds * RATE)) / RATE
    return 0.1 * np.sin(2 * np.pi * 440 * time) * (1 + np.sin(8 * np.pi * time))


def thunder(seconds: float = 5.2) -> np.ndarray:
    return 3 * pink(seconds) * (0.1 + np.sin(np.pi * np.arange(round(seconds * RATE)) / RATE) ** 4)


def in_a_room(samples: np.ndarray, seconds: float) -> np.ndarray:
    """As loud an echo as the voice itself; it decays by 60 dB in `seconds`."""
    length = round(1.2 * seconds * RATE)
    echo = np.random.default_rng(6).standard_normal(length) * 10 ** (-3 * np.arange(length) / RATE / seconds)
    echo[: RATE // 500] = 0
    echo /= np.sqrt(np.sum(echo**2))
    echo[0] = 1
    size = len(samples) + length
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(echo, size), size)[: len(samples)]


def similarity_db(reference: np.ndarray, samples: np.ndarray) -> float:
    """SI-SDR: what of the samples is the reference, at any gain, over what is not."""
    length = min(len(reference), len(samples))
    reference, samples = reference[:length].astype(float), samples[:length].astype(float)
    part = np.dot(reference, samples) / np.dot(reference, reference) * reference
    return float(10 * np.log10(np.sum(part**2) / max(np.sum((samples - part) ** 2), 1e-12)))
