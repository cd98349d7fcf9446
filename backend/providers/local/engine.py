"""espeak-ng, called in its own library. Its state is global and leaks from one utterance into the next.

So each batch is spoken by a fork of a process in which it was initialised and never used: the same utterances
give the same samples. Fork from processes of one thread only (a worker's, or a script's).
"""

import ctypes
import os
from functools import cache

import espeakng_loader
import numpy as np
from msgspec import Struct

from backend.providers.local.jobs import VOICES

SAMPLE_RATE = 22_050
MIN_RATE, DEFAULT_RATE, MAX_RATE = 80, 175, 450  # words a minute
_SYNCHRONOUS, _UTF8 = 2, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Utterance(Struct, frozen=True, kw_only=True):
    text: str
    language: str
    variant: str = ""  # of the voice, such as +f2
    rate: int = DEFAULT_RATE
    pitch: int = 50  # of 0 to 99, as is the next
    pitch_range: int = 50


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    path = espeakng_loader.get_data_path().encode()
    if library.espeak_Initialize(_SYNCHRONOUS, 0, path, 0) != SAMPLE_RATE:
        raise RuntimeError("espeak-ng cannot be initialised")
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # else the time of day, heard in a voice's breath
    return library


def load() -> None:
    """Before the first fork, or each would initialise it again."""
    _library()


def speak(utterances: list[Utterance]) -> list[np.ndarray]:
    """16-bit mono samples of each, at 22 050 Hz. Deterministic."""
    load()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                for utterance in utterances:
                    pcm = speak_here(utterance)
                    pipe.write(len(pcm).to_bytes(4, "little") + pcm)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        spoken = [np.frombuffer(pipe.read(int.from_bytes(pipe.read(4), "little")), "<i2") for _ in utterances]
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"espeak-ng ended with status {status}")
    return spoken


def speak_here(utterance: Utterance) -> bytes:
    """Speak in this process: deterministic the first time only."""
    library = _library()
    parts: list[bytes] = []

    def take(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if samples and count:
            parts.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = _Callback(take)
    library.espeak_SetSynthCallback(callback)
    voice = VOICES[utterance.language] + utterance.variant
    if library.espeak_SetVoiceByName(voice.encode()):
        raise RuntimeError(f"espeak-ng has no voice {voice}")
    for parameter, value in (
        (_RATE, utterance.rate),
        (_PITCH, utterance.pitch),
        (_RANGE, utterance.pitch_range),
    ):
        library.espeak_SetParameter(parameter, value, 0)
    text = utterance.text.encode()
    library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _UTF8, None, None)
    return b"".join(parts)
