"""Canaries: voices that have not spoken for long, each made to say a word. Nobody hears it.

It proves that the voice can speak, which a lookup does not, and it keeps a voice where the provider deletes
what is not used. What a refusal says of the voice is left to operators: it closes no gate.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.queries import load_queries
from backend.providers.base import ErrorKind, ProviderError, SpeechRequest, VoiceProvider
from backend.telemetry.measures import CANARIES
from backend.web.logs import log

queries = load_queries(__file__)
MOST_CANARIES = 20  # in one step
WORDS = {
    "de": "Hallo.", "en": "Hello.", "es": "Hola.", "fr": "Bonjour.", "it": "Ciao.", "ja": "こんにちは。",
    "ko": "안녕하세요.", "pt": "Olá.", "ru": "Здравствуйте.", "zh": "你好。",
}  # fmt: skip
ONE_VOICE_ONLY = {ErrorKind.REJECTED, ErrorKind.UNKNOWN}  # says nothing about the next voice


class Canary(Struct, frozen=True, kw_only=True):
    """`former_at`: when the voice was last made to speak before."""

    provider_voice_id: str
    target_model: str
    language: str
    former_at: datetime | None


async def speak_canaries(
    context: AppContext, provider: VoiceProvider, check: dict[str, Any], voices: Sequence[UUID], until: float
) -> None:
    """One after the other, until an error that is about the account, or `until` (of the monotonic clock).

    `check`: its id and the lease's epoch. Raises StaleLease where another worker has the check.
    """
    for voice in voices:
        if time.monotonic() > until or not await speak_canary(context, provider, {**check, "voice": voice}):
            return


async def speak_canary(context: AppContext, provider: VoiceProvider, values: dict[str, Any]) -> bool:
    """Whether the next one may be tried."""
    canary = await context.database.fetch_one(queries.begin_canary, values, row=Canary)
    if canary is None:
        return True
    request = SpeechRequest(
        provider_voice_id=canary.provider_voice_id,
        target_model=canary.target_model,
        text=WORDS.get(canary.language, WORDS["en"]),
        language=canary.language,
    )
    has_spoken, goes_on = True, True
    try:
        await provider.synthesize(request)
    except ProviderError as error:
        has_spoken, goes_on = False, error.kind in ONE_VOICE_ONLY
        log.warning("canary_failed", voice_id=str(values["voice"]), code=error.code, error=str(error))
    outcome = "spoken" if has_spoken else "refused" if goes_on else "not_tried"
    CANARIES.labels(provider=provider.name, outcome=outcome).inc()
    if outcome != "refused":
        values = {**values, "has_spoken": has_spoken, "former_at": canary.former_at}
        await context.database.execute(queries.end_canary, values)
    return goes_on
