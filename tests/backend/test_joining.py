"""Joining clips: one WAV of one rate, with pauses, and no jump that the clips do not have themselves."""

import io
import wave

import numpy as np
import pytest

from backend.lifecycle.synthesis.joining import FADE_SECONDS, join_clips
from backend.providers.wav import pcm_wav

RATE = 24_000


def tone(
    seconds: float = 0.3, hertz: float = 200.0, level: float = 20_000.0, offset: float = 0.0
) -> np.ndarray:
    """A cosine, so that it begins and ends at its full level: the worst case for a join."""
    at = np.arange(round(seconds * RATE)) / RATE
    return (level * np.cos(2 * np.pi * hertz * at) + offset).astype("<i2")


def clip(samples: np.ndarray, rate: int = RATE) -> bytes:
    return pcm_wav(samples.tobytes(), rate)


def read(wav: bytes) -> tuple[np.ndarray, int]:
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getsampwidth(), file.getnchannels()) == (2, 1)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(int), file.getframerate()


def largest_jump(samples: np.ndarray) -> int:
    return int(np.abs(np.diff(samples.astype(int))).max())


@pytest.mark.parametrize("pause", [0.0, 0.03, 0.2])
def test_a_join_has_no_click(pause: float) -> None:
    clips = [tone(hertz=200), tone(hertz=150, level=-30_000), tone(hertz=333, offset=8_000)]
    naive = largest_jump(np.concatenate(clips))
    samples, rate = read(join_clips([clip(each) for each in clips], [pause, pause]))
    of_the_clips = max(largest_jump(each) for each in clips)
    of_a_fade = 32_768 / (FADE_SECONDS * RATE)
    assert rate == RATE
    assert largest_jump(samples) <= of_the_clips + of_a_fade + 1
    assert naive > 5 * (of_the_clips + of_a_fade), "without fades there is a click"


def test_the_pauses_are_silent_and_as_long_as_they_should_be() -> None:
    first, second, third = tone(0.3), tone(0.2), tone(0.1)
    samples, _ = read(join_clips([clip(first), clip(second), clip(third)], [0.2, 0.05]))
    pauses = round(0.2 * RATE), round(0.05 * RATE)
    assert len(samples) == len(first) + len(second) + len(third) + sum(pauses)
    assert not samples[len(first) : len(first) + pauses[0]].any()
    fade = round(FADE_SECONDS * RATE)
    assert (samples[: len(first) - fade] == first[:-fade]).all(), "only the joined edges are faded"
    assert (samples[-len(third) + fade :] == third[fade:]).all()


def test_one_clip_stays_as_it_is() -> None:
    only = clip(tone())
    assert join_clips([only], []) is only


def test_a_clip_shorter_than_a_fade_is_joined() -> None:
    samples, _ = read(
        join_clips([clip(tone(0.3)), clip(np.array([9, 9, 9], "<i2")), clip(tone(0.3))], [0, 0])
    )
    assert len(samples) == 2 * round(0.3 * RATE) + 3


@pytest.mark.parametrize(
    "clips",
    [
        [clip(tone()), clip(tone(), 22_050)],
        [clip(tone()), b"not a WAV"],
        [clip(tone()), b"RIFF\0\0\0\0WAVE"],
        [clip(tone()), clip(tone()).replace(b"\x01\0\x01\0", b"\x01\0\x02\0", 1)],
    ],
)
def test_clips_that_do_not_fit_are_refused(clips: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        join_clips(clips, [0.1])
