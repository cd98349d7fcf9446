"""Speech of the simulated vendors: espeak-ng, at the pitch that was measured in the sample."""

import asyncio
import ctypes
import math
import threading
from functools import cache

import espeakng_loader
import numpy as np
import soxr

from scripts.local.simulator.audio import RATE

_SYNCHRONOUS, _UTF8, _PITCH, _RATE_WORDS = 2, 1, 3, 1
_PLAIN_PITCH = 110.0  # what the parameter's middle, 50, sounds like
_VOICES = {"zh": "cmn", "pt": "pt", "en": "en-us"}
_lock = threading.Lock()  # libespeak-ng has one state a process
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_received: list[bytes] = []


@_Callback
def _collect(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
    if samples and count > 0:
        _received.append(ctypes.string_at(samples, count * 2))
    return 0


@cache
def _library() -> tuple[ctypes.CDLL, int]:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate <= 0:
        raise RuntimeError("espeak-ng did not start")
    library.espeak_SetSynthCallback(_collect)
    return library, rate


def speak(text: str, language: str, pitch: float) -> bytes:
    """16-bit mono PCM at 24 kHz. `language` is ISO 639-1; one espeak-ng does not have is read as English."""
    with _lock:
        library, rate = _library()
        name = _VOICES.get(language, language)
        if library.espeak_SetVoiceByName(name.encode()) != 0:
            library.espeak_SetVoiceByName(b"en-us")
        level = 50 + 50 * math.log2(max(pitch, 40.0) / _PLAIN_PITCH)
        library.espeak_SetParameter(_PITCH, round(min(99, max(0, level))), 0)
        library.espeak_SetParameter(_RATE_WORDS, 165, 0)
        _received.clear()
        utf8 = text.encode() + b"\0"
        library.espeak_Synth(utf8, len(utf8), 0, 0, 0, _UTF8, None, None)
        samples = np.frombuffer(b"".join(_received), dtype="<i2")
    return soxr.resample(samples, rate, RATE).astype("<i2").tobytes()


@cache
def _stock() -> bytes:
    return speak("This is what a simulated voice says at once.", "en", _PLAIN_PITCH)


async def synthesize(text: str, language: str, pitch: float, *, instant: bool) -> bytes:
    """`speak` off the event loop; with `instant`, one stock utterance for every text."""
    return _stock() if instant else await asyncio.to_thread(speak, text, language, pitch)
