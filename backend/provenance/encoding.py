"""Speech in another format than WAV. It runs in a sandboxed worker."""

import io
import wave
from collections.abc import Mapping
from typing import cast

import av
from av.audio.stream import AudioStream

from backend.provenance.formats import AudioFormat
from backend.provenance.frames import Marked


def encoded(speech: bytes, wanted: AudioFormat, tags: Mapping[str, str]) -> Marked:
    """Without a mark. `speech`: a WAV of 16 bits and one channel. `tags`: where the container has a place."""
    with wave.open(io.BytesIO(speech)) as file:
        own_rate = file.getframerate()
        if not wanted.codec:
            return Marked(audio=file.readframes(file.getnframes()), sample_rate=own_rate)
    rate = wanted.sample_rate or own_rate
    target = io.BytesIO()
    with (
        av.open(io.BytesIO(speech), "r", "wav") as source,
        av.open(target, "w", wanted.container) as output,
    ):
        stream = cast(AudioStream, output.add_stream(wanted.codec, rate=rate, layout="mono"))
        output.metadata.update(tags)
        context = stream.codec_context
        context.open()
        resampler = av.AudioResampler(context.format, "mono", rate, context.frame_size)
        for frame in source.decode(audio=0):
            frame.pts = None
            for each in resampler.resample(frame):
                output.mux(stream.encode(each))
        for each in resampler.resample(None):
            output.mux(stream.encode(each))
        output.mux(stream.encode(None))
    return Marked(audio=target.getvalue(), sample_rate=rate)
