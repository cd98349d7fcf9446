"""The job of a worker: does a recording hold these words, said by the speaker of a sample?

What it computes of a voice ends with the job.
"""

from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from backend.audio import denoise, speakers, voice_activity, words
from backend.audio.examine import Heard, hear
from backend.audio.spoken_frames import LONGEST_SAMPLE, LONGEST_SENTENCE, SpokenFindings, SpokenJob
from backend.sandbox.errors import InputRefused


def load() -> None:
    denoise.load()
    voice_activity.load()
    speakers.load()
    words.load()


def handle(request: bytes, files: Sequence[BinaryIO]) -> bytes:
    job = msgspec.msgpack.decode(request, type=SpokenJob)
    return msgspec.msgpack.encode(compare(job, *files))


def compare(job: SpokenJob, recording: BinaryIO, sample: BinaryIO, tracks: BinaryIO) -> SpokenFindings:
    """The speakers are compared only where the words are right."""
    spoken = opened("recording", recording, tracks, LONGEST_SENTENCE)
    heard = words.heard_words(tracks, spoken.track, spoken.cut)
    score = words.likeness_of(heard, words.words_of(job.sentence))
    if score < job.words_needed:
        return SpokenFindings(words=round(score, 3))
    one = speakers.voice_of(tracks, spoken.track, spoken.cut, spoken.measured.speech.frames)
    tracks.seek(0)
    sampled = opened("sample", sample, tracks, LONGEST_SAMPLE)
    other = speakers.voice_of(tracks, sampled.track, sampled.cut, sampled.measured.speech.frames)
    if one is None or other is None:
        return SpokenFindings(words=round(score, 3), too_short="recording" if one is None else "sample")
    return SpokenFindings(words=round(score, 3), speaker=round(float(one @ other), 3))


def opened(field: str, file: BinaryIO, tracks: BinaryIO, seconds: float) -> Heard:
    """Raises InputRefused, with the field that is at fault."""
    try:
        return hear(file, tracks, max_seconds=seconds)
    except InputRefused as error:
        raise InputRefused(error.code, error.message, {**error.details, "field": field}) from error
