"""The job of a worker that decodes a provider's audio."""

import io
from collections.abc import Sequence
from typing import BinaryIO

from backend.audio.decode import NOT_AUDIO, open_source
from backend.audio.pcm import pcm16
from backend.providers.wav import pcm_wav
from backend.sandbox.errors import InputRefused

MAX_SECONDS = 600.0


def handle(request: bytes, _files: Sequence[BinaryIO]) -> bytes:
    with open_source(io.BytesIO(request)) as source:
        blocks = [pcm16(block.mean(axis=0)) for block in source.blocks(MAX_SECONDS)]
        if not any(blocks):
            raise InputRefused("invalid_format", NOT_AUDIO)
        return pcm_wav(b"".join(blocks), source.sample_rate)
