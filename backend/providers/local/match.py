"""Moving espeak-ng's voice to what was measured of a sample.

Its formants are moved by playing it faster or slower; the pitch and the pace that this changes too are set
beforehand, so nothing has to be stretched. Then its long-term spectrum is levelled to the sample's.
"""

from functools import lru_cache

import msgspec
import numpy as np
import soxr
from msgspec import Struct

from backend.providers.local import engine
from backend.providers.local.engine import Utterance, speak
from backend.providers.local.jobs import Measures
from backend.providers.local.measure import BANDS, SAMPLE_RATE, measure
from backend.sandbox.errors import InputRefused

PEAK = 10 ** (-3 / 20)
HIGH_VARIANT, HIGH_HZ = "+f2", 150.0  # the voice to start from, for samples above that
SLOWEST, FASTEST = 0.85, 1.2
WIDEST = 80  # pitch range: beyond, it sings
INAUDIBLE = 1e-3
MOST_GAIN_DB = 9.0
TAPS = 129
PITCHES = (20, 45, 70, 95)  # below, espeak-ng creaks, and no pitch is heard
TEXTS = {
    "": "The north wind and the sun were arguing about which of them was the stronger.",
    "ja": "おはよう ございます。 きょう は いい てんき です ね。",
    "ko": "안녕하세요. 오늘은 날씨가 아주 좋습니다.",
    "ru": "Доброе утро. Сегодня очень хорошая погода.",
    "uk": "Доброго ранку. Сьогодні дуже гарна погода.",
    "zh": "早上好。今天的天气非常好。",
}


class Match(Struct, frozen=True, kw_only=True):
    """How to speak one language in one voice."""

    language: str
    variant: str = ""
    rate: int = engine.DEFAULT_RATE
    pitch: int = 50
    pitch_range: int = 50
    faster: float = 1.0  # than espeak-ng speaks: its formants times this
    filter: np.ndarray = msgspec.field(default_factory=lambda: np.ones(1))

    def say(self, *texts: str) -> list[np.ndarray]:
        """Floats at 24 kHz."""
        spoken = speak([self._utterance(text, self.pitch) for text in texts])
        return [np.convolve(self._played(samples), self.filter, "same") for samples in spoken if len(samples)]

    def pitch_for(self, hertz: float, text: str) -> int:
        """The setting whose median pitch is nearest, found between measured ones."""
        spoken = speak([self._utterance(text, pitch) for pitch in PITCHES])
        heard = np.log([_measured(self._played(samples)).pitch_hz for samples in spoken])
        return round(float(np.interp(np.log(hertz), np.maximum.accumulate(heard), PITCHES)))

    def _utterance(self, text: str, pitch: int) -> Utterance:
        return Utterance(
            text=text,
            language=self.language,
            variant=self.variant,
            rate=self.rate,
            pitch=pitch,
            pitch_range=self.pitch_range,
        )

    def _played(self, spoken: np.ndarray) -> np.ndarray:
        rate = engine.SAMPLE_RATE * self.faster
        return soxr.resample(spoken.astype(np.float32) / 32768, rate, SAMPLE_RATE)


def say(text: str, language: str, target: Measures) -> np.ndarray:
    """Floats at 24 kHz, their peak at -3 dBFS; InputRefused `text_empty` where nothing can be spoken."""
    for samples in find_match(language, target).say(text):
        peak = float(np.abs(samples).max(initial=0.0))
        if peak > INAUDIBLE:
            return samples * (PEAK / peak)
    raise InputRefused("text_empty", "There is nothing in the text that can be spoken.")


@lru_cache(maxsize=256)
def find_match(language: str, target: Measures) -> Match:
    """Measured on a sentence of that language, one setting after the other, since each changes the others."""
    text = TEXTS.get(language, TEXTS[""])
    match = Match(language=language, variant=HIGH_VARIANT if target.pitch_hz > HIGH_HZ else "")
    plain = _measured(match.say(text)[0])
    faster = _between(SLOWEST, target.formant_hz / max(plain.formant_hz, 1.0), FASTEST)
    pace = _between(0.75, target.syllables_per_second / max(plain.syllables_per_second, 0.1), 1.35)
    match = msgspec.structs.replace(
        match,
        faster=faster,
        rate=round(_between(engine.MIN_RATE, engine.DEFAULT_RATE * pace / faster, engine.MAX_RATE)),
        pitch_range=round(_between(5, 50 * target.pitch_span / max(plain.pitch_span, 1.0), WIDEST)),
    )
    match = msgspec.structs.replace(match, pitch=match.pitch_for(target.pitch_hz, text))
    levelled = np.subtract(target.bands_db, _measured(match.say(text)[0]).bands_db)
    return msgspec.structs.replace(match, filter=_filter(levelled))


def _measured(samples: np.ndarray) -> Measures:
    measures = measure(samples)
    if measures is None:
        raise RuntimeError("espeak-ng said nothing that can be measured")
    return measures


def _between(least: float, value: float, most: float) -> float:
    return min(max(value, least), most)


def _filter(gains_db: np.ndarray) -> np.ndarray:
    """A linear-phase filter with these gains at the middle of each band, smoothed and bounded."""
    smooth = np.convolve(np.pad(gains_db, 1, mode="edge"), (0.25, 0.5, 0.25), "valid")
    bounded = np.clip(smooth, -MOST_GAIN_DB, MOST_GAIN_DB)
    hertz = np.fft.rfftfreq(TAPS - 1, 1 / SAMPLE_RATE)
    middles = np.sqrt(BANDS[:-1] * BANDS[1:])
    response = 10 ** (np.interp(np.log(np.maximum(hertz, 1.0)), np.log(middles), bounded) / 20)
    impulse = np.roll(np.fft.irfft(response, TAPS - 1), TAPS // 2)
    return np.append(impulse, impulse[0]) * np.hamming(TAPS)
