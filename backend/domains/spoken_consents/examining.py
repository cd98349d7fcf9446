"""What a spoken consent needs: the words of its sentence, said by the speaker of the sample."""

import asyncio
from typing import Any, BinaryIO
from uuid import UUID

from backend.audio.spoken import (
    SPEAKER_BY,
    SPEAKER_NEEDED,
    WORDS_BY,
    WORDS_NEEDED,
    SpokenExaminer,
    missing_modules,
)
from backend.audio.spoken_frames import LEAST_SPEECH_SECONDS, LOCALES, SpokenFindings
from backend.context import AppContext
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.samples.preparation import from_audio
from backend.domains.samples.sample_step import hash_of
from backend.errors import InvalidInput, SampleRefused, Unavailable
from backend.sandbox.errors import InputRefused

queries = load_queries(__file__)


def require_locale(locale: str) -> None:
    """Raises where nothing here hears this language."""
    if locale not in LOCALES:
        raise InvalidInput(
            "A statement in this language cannot be signed by speaking.",
            code="spoken_locale_unsupported",
            field="locale",
            help=f"One of {', '.join(sorted(LOCALES))}.",
        )
    if missing := missing_modules():
        raise Unavailable(
            "Spoken consents cannot be examined here.",
            code="spoken_consent_unavailable",
            help="Tell the operator of this service.",
            internal=f"not installed: {', '.join(missing)}",
            retry_after=60,
        )


async def prove(
    context: AppContext,
    examiner: SpokenExaminer,
    user: UUID,
    challenge: UUID,
    recording: BinaryIO,
    sample: BinaryIO,
) -> dict[str, Any]:
    """What goes into the ledger. The sentence is used up, whatever is found. Raises what does not fit."""
    sentence = required(
        await context.database.fetch_value(queries.take, {"user": user, "challenge": challenge}, of=str)
    )
    try:
        found = await examiner.examine(recording, sample, sentence)
    except InputRefused as error:
        refused = from_audio(error)
        refused.field = error.details.get("field")
        raise refused from error
    return {
        "words": found.words,
        "words_needed": WORDS_NEEDED,
        "words_by": WORDS_BY,
        "speaker": require_found(found),
        "speaker_needed": SPEAKER_NEEDED,
        "speaker_by": SPEAKER_BY,
        "sample": (await asyncio.to_thread(hash_of, sample)).hex(),
    }


def require_found(found: SpokenFindings) -> float:
    """The score of the speaker. No refusal tells a score: that would help who tries."""
    if found.words < WORDS_NEEDED:
        raise SampleRefused(
            "The recording does not hold the words of the sentence.",
            code="spoken_words_differ",
            field="recording",
            help="Ask for another sentence, and read it slowly in a quiet room.",
        )
    if found.too_short or found.speaker is None:
        raise SampleRefused(
            "Too little is said to compare the speakers.",
            code="spoken_too_short",
            field=found.too_short,
            help="Read the whole sentence, and send a sample with five seconds of speech or more.",
            extra={"limit": LEAST_SPEECH_SECONDS},
        )
    if found.speaker < SPEAKER_NEEDED:
        raise SampleRefused(
            "The recording and the sample do not sound like one person.",
            code="spoken_by_another",
            field="sample",
            help="Record both by yourself, with the same microphone.",
        )
    return found.speaker
