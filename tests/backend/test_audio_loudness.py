"""The streaming meter against a reference implementation."""

import numpy as np
import pyloudnorm
import pytest

from backend.audio.loudness import SAMPLE_RATE, LoudnessMeter
from tests.audio_samples import speech


def signals() -> dict[str, np.ndarray]:
    time = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
    noise = np.random.default_rng(3).standard_normal(7 * SAMPLE_RATE) * 0.05
    return {
        "a tone": 0.25 * np.sin(2 * np.pi * 997 * time),
        "a low tone": 0.25 * np.sin(2 * np.pi * 45 * time),
        "noise": noise,
        "speech after silence": np.concatenate([np.zeros(3 * SAMPLE_RATE), speech()[0]]),
    }


@pytest.mark.parametrize("chunk", [777, 24_000, 1_000_000])
@pytest.mark.parametrize("name", signals())
def test_integrated_loudness_is_that_of_the_reference(name: str, chunk: int) -> None:
    signal = signals()[name]
    meter = LoudnessMeter()
    for start in range(0, len(signal), chunk):
        meter.add(signal[start : start + chunk])
    expected = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(signal.astype(float))
    assert meter.integrated() == pytest.approx(expected, abs=0.1)


def test_silence_and_a_click_have_no_loudness() -> None:
    silent, short = LoudnessMeter(), LoudnessMeter()
    silent.add(np.zeros(5 * SAMPLE_RATE))
    short.add(np.ones(SAMPLE_RATE // 5))
    assert silent.integrated() is None
    assert short.integrated() is None
