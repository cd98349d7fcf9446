"""Measures of a sample's two tracks. It keeps some numbers for each 20 ms, up to the maximum of seconds."""

import numpy as np
import soxr
from msgspec import Struct

from backend.audio import pitch
from backend.audio.loudness import LoudnessMeter
from backend.audio.noise import Noise, ToneMeter, measure_noise
from backend.audio.speech import FRAME_SECONDS, Speech, find_speech, noise_floor, widened
from backend.audio.voice_activity import VoiceActivity

SAMPLE_RATE = 24_000
FRAME = round(SAMPLE_RATE * FRAME_SECONDS)
AUDIBLE = 10 ** (-65 / 10)  # power below which no pitch is looked for
LOUD_SOUND = 10 ** (-20 / 10)  # of the speech's power: a sound that is heard beside it
APART = 15  # frames between a voice and a sound that is not of it


class Measured(Struct, frozen=True, kw_only=True):
    """What the meter found, and what follows from it."""

    power: np.ndarray  # mean squares of each frame: recorded, clean, residual
    speech: Speech
    voice: np.ndarray | None  # frames that the detector takes for a voice
    voiced_hertz: np.ndarray
    loudness_lufs: float | None
    tonal_residual: bool

    @property
    def pitch_hz(self) -> float | None:
        return float(np.median(self.voiced_hertz)) if len(self.voiced_hertz) else None

    @property
    def noise_floor_db(self) -> float:
        return noise_floor(self.power[:, 0])

    def noise(self, *, denoised: bool) -> Noise | None:
        """None without speech. Where nothing could be denoised, the quietest frames count as the noise."""
        if self.speech.snr_db is None:
            return None
        if not denoised:
            return Noise(self.speech.snr_db, None)
        return measure_noise(self.speech.frames, *self.power.T)

    def other_seconds(self) -> float:
        """Sound that is heard beside the speech, and is not of it."""
        if self.voice is None or not self.speech.frames.any():
            return 0.0
        recorded = self.power[:, 0]
        loud = recorded > LOUD_SOUND * recorded[self.speech.frames].mean()
        other = loud & ~widened(self.voice | self.speech.frames, APART)
        return int(np.count_nonzero(other)) * FRAME_SECONDS


class SpeechMeter:
    """Add rows × (recorded, clean) at 24 kHz. What is asked afterwards is in seconds, hertz and decibels."""

    def __init__(self) -> None:
        self._loudness = LoudnessMeter()
        self._voice = VoiceActivity(SAMPLE_RATE)
        self._tones = ToneMeter(SAMPLE_RATE)
        self._slow = soxr.ResampleStream(SAMPLE_RATE, pitch.SAMPLE_RATE, 1, dtype="float32", quality="MQ")
        self._at_24k = np.zeros((0, 2), np.float32)
        self._at_8k = np.zeros(0, np.float32)
        self._power: list[np.ndarray] = []  # of each frame: recorded, clean, residual
        self._hertz: list[np.ndarray] = []
        self._strength: list[np.ndarray] = []

    def add(self, rows: np.ndarray, *, last: bool = False) -> None:
        recorded, clean = np.ascontiguousarray(rows.T)
        self._loudness.add(recorded)
        self._voice.add(recorded, last=last)
        self._tones.add(recorded - clean, last=last)
        self._at_24k = np.concatenate((self._at_24k, rows))
        self._at_8k = np.concatenate((self._at_8k, self._slow.resample_chunk(clean, last=last)))
        hop = FRAME // (SAMPLE_RATE // pitch.SAMPLE_RATE)
        if last:
            self._at_8k = np.concatenate((self._at_8k, np.zeros(pitch.WINDOW, np.float32)))
        count = min(len(self._at_24k) // FRAME, (len(self._at_8k) - pitch.WINDOW) // hop + 1)
        if count > 0:
            windows = np.lib.stride_tricks.sliding_window_view(self._at_8k, pitch.WINDOW)
            self._measure(self._at_24k[: count * FRAME].astype(float), windows[: count * hop : hop])
            self._at_24k = self._at_24k[count * FRAME :]
            self._at_8k = self._at_8k[count * hop :]

    def _measure(self, rows: np.ndarray, windows: np.ndarray) -> None:
        recorded, clean = rows.T
        tracks = np.stack((recorded, clean, recorded - clean)).reshape(3, -1, FRAME)
        power = np.mean(tracks**2, axis=2).T
        hertz, strength = np.zeros(len(power)), np.zeros(len(power))
        audible = np.flatnonzero(power[:, 1] > AUDIBLE)
        hertz[audible], strength[audible] = pitch.find_pitch(windows[audible])
        self._power.append(power)
        self._hertz.append(hertz)
        self._strength.append(strength)

    def finish(self) -> Measured:
        power = np.concatenate([*self._power, np.zeros((0, 3))])
        hertz, strength = (np.concatenate([*each, np.zeros(0)]) for each in (self._hertz, self._strength))
        voice = self._voice.frames(len(power), FRAME_SECONDS)
        speech = find_speech(power[:, 1], strength >= pitch.PERIODIC, voice)
        return Measured(
            power=power,
            speech=speech,
            voiced_hertz=hertz[(strength >= pitch.PERIODIC) & speech.frames],
            voice=voice,
            loudness_lufs=self._loudness.integrated(),
            tonal_residual=self._tones.is_tonal(),
        )
