"""WAV files as the vendors answer with them: 16-bit PCM, mono."""

import io
import wave


def pcm_wav(pcm: bytes, sample_rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setparams((1, 2, sample_rate, 0, "NONE", "not compressed"))
        audio.writeframes(pcm)
    return file.getvalue()
