"""Voices: the enrolled results, as their owners see them."""

from contextlib import suppress
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.queries import load_queries
from backend.errors import Conflict, NotFound, Unavailable
from backend.lifecycle.values import CloneStatus, Provider
from backend.web.error_codes import ErrorCode

queries = load_queries(__file__)


class Move(Struct, frozen=True, kw_only=True):
    """The latest move of a voice to another provider: the attempt that makes the new voice, or made it."""

    attempt_id: UUID
    provider: Provider
    status: CloneStatus
    error_code: ErrorCode | None


class Voice(Struct, frozen=True, kw_only=True):
    """An enrolled voice, with its provider's metadata."""

    voice_id: UUID
    attempt_id: UUID
    name: str
    language: str
    tts_provider: Provider
    provider_voice_id: str
    provider_target_model: str
    provider_voice_kind: str
    provider_region: str
    provider_request_id: str | None
    provider_metadata: dict[str, object]
    created_at: datetime
    lost_at: datetime | None  # since then its provider is known not to have it; a retry makes it again
    moved_from: UUID | None  # the voice whose sample this one was made of
    moved_to: UUID | None  # the voice of the same sample that its latest move made
    move: Move | None


class SpeakingVoice(Struct, frozen=True, kw_only=True):
    """What a voice speaks with, and where."""

    language: str
    tts_provider: str
    provider_region: str
    provider_account: str
    provider_voice_id: str
    provider_target_model: str
    is_lost: bool
    is_taken_down: bool
    has_spoken_lately: bool  # and it is noted


async def find_speaking_voice(context: AppContext, caller: Caller, voice_id: UUID) -> SpeakingVoice:
    """Raises NotFound, or Conflict where the voice was taken down, or is lost at its provider."""
    mine = context.database.as_caller(caller)
    voice = await mine.fetch_one(queries.to_speak, {"voice": voice_id}, row=SpeakingVoice)
    if voice is None:
        raise NotFound("There is no such voice.")
    if voice.is_taken_down:
        raise taken_down()
    if voice.is_lost:
        raise Conflict(
            "The voice provider does not have this voice any more.",
            code="voice_lost",
            help="Retry its attempt to make it again from its sample, or clone another.",
        )
    return voice


async def note_speech(context: AppContext, caller: Caller, voice_id: UUID, voice: SpeakingVoice) -> None:
    """That it spoke. A note that cannot be written costs no speech: the next one writes it."""
    if not voice.has_spoken_lately:
        with suppress(Unavailable):
            values = {"voice": voice_id, "user": caller.user_id}
            await context.database.execute(queries.note_speech, values)


def taken_down() -> Conflict:
    return Conflict(
        "This voice was taken down after a notice.",
        code="voice_taken_down",
        help="Ask the operator of this service.",
    )


async def find_voice(context: AppContext, caller: Caller, voice_id: UUID) -> Voice:
    voice = await context.database.as_caller(caller).fetch_one(queries.by_id, {"voice": voice_id}, row=Voice)
    if voice is None:
        raise NotFound("There is no such voice.")
    return voice
