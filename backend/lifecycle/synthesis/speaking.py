"""Speech of any length: a text longer than its provider takes is spoken in parts and joined.

One voice speaks all of it. A part that fails fails the whole: no other provider and no other voice is tried.
"""

import asyncio
from itertools import pairwise

from msgspec import structs

from backend.lifecycle.synthesis.joining import join_clips
from backend.lifecycle.synthesis.sentences import Boundary, Part, split_text
from backend.provenance.formats import WAV, AudioFormat
from backend.provenance.frames import Marked
from backend.provenance.manifest import Origin
from backend.provenance.marking import AudioMarker
from backend.providers.base import ErrorKind, ProviderError, SpeechRequest, VoiceProvider
from backend.providers.http import INFERENCE_FAILED, Call

MOST_PARTS = 40
PARTS_AT_ONCE = 4  # of one text; the provider limits them as well
MARK_BYTES = 65_536  # at most
MOST_BYTES = 50 * 1024 * 1024 - MARK_BYTES  # of speech: with its mark, what the bucket `speeches` takes
PAUSES = {  # seconds between two parts, beside the silence that a clip ends with
    Boundary.PARAGRAPH: 0.4,
    Boundary.SENTENCE: 0.2,
    Boundary.CLAUSE: 0.1,
    Boundary.WORD: 0.03,
    Boundary.CHARACTER: 0.0,
}


async def speak_marked(
    marker: AudioMarker, provider: VoiceProvider, request: SpeechRequest, wanted: AudioFormat = WAV
) -> Marked:
    """Speech with its mark: the only speech that leaves. Raises ProviderError, or MarkingUnavailable.

    A manifest beside it is kept before the speech leaves.
    """
    speech = await speak(provider, request)
    origin = Origin(provider=provider.name, model=request.target_model)
    return await marker.mark_as(speech, wanted, origin)


async def speak(provider: VoiceProvider, request: SpeechRequest) -> bytes:
    """A WAV file without a mark: 16-bit PCM, mono. Raises ProviderError and nothing else."""
    parts = await speakable_parts(provider, request.target_model, request.text)
    if len(parts) <= 1:
        return await provider.synthesize(request)
    clips = await speak_parts(provider, request, parts)
    if sum(map(len, clips)) > MOST_BYTES:
        raise too_long(provider, f"The speech is longer than {MOST_BYTES} bytes.", MOST_BYTES)
    pauses = [PAUSES[part.ends_at] for part, _ in pairwise(parts)]
    try:
        return await asyncio.to_thread(join_clips, clips, pauses)
    except ValueError as error:
        raise Call(provider=provider.name, seconds=0).error(INFERENCE_FAILED) from error


async def require_speakable(provider: VoiceProvider, target_model: str, text: str) -> None:
    """Before a voice is made for it. Raises ProviderError where the provider takes no text so long."""
    await speakable_parts(provider, target_model, text)


async def speakable_parts(provider: VoiceProvider, target_model: str, text: str) -> list[Part]:
    """In a thread: 50,000 characters take a tenth of a second."""
    limits = provider.limits
    most = limits.characters_of(target_model)
    parts = await asyncio.to_thread(split_text, text, most, limits.count_characters)
    speakable = [part for part in parts if part.is_speakable]
    if len(speakable) > MOST_PARTS:
        raise too_long(
            provider, f"The text is longer than {MOST_PARTS} utterances of this provider.", MOST_PARTS
        )
    return speakable


async def speak_parts(provider: VoiceProvider, request: SpeechRequest, parts: list[Part]) -> list[bytes]:
    """The clip of each part. The first that fails ends the others."""
    places = asyncio.Semaphore(PARTS_AT_ONCE)

    async def speak_part(part: Part) -> bytes:
        async with places:
            return await provider.synthesize(structs.replace(request, text=part.text.strip()))

    tasks = [asyncio.create_task(speak_part(part)) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def too_long(provider: VoiceProvider, message: str, limit: int) -> ProviderError:
    """`limit` is in the unit of the message."""
    return ProviderError(ErrorKind.REJECTED, "text_too_long", message, provider=provider.name, limit=limit)
