"""Moves: a voice of the same sample, under the same consent, at another provider, region or account.

docs/decisions/0046-a-working-voice-is-moved-beside.md
"""

from uuid import UUID

from msgspec import Struct

from backend.audio.inspection_frames import Inspection
from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.samples.preparation import require_movable
from backend.errors import Conflict, NotFound
from backend.lifecycle.attempts import AttemptRow
from backend.lifecycle.slots import name_alternatives, place
from backend.providers.places import is_here
from backend.web.idempotency import new_id, once

queries = load_queries(__file__)


class MovableVoice(Struct, frozen=True, kw_only=True):
    language: str
    tts_provider: str
    provider_region: str
    provider_account: str
    measures: Inspection | None  # of its sample; null where there is none


async def move_voice(
    context: AppContext, caller: Caller, voice_id: UUID, provider_name: str | None, *, switch_now: bool
) -> AttemptRow:
    """The attempt that makes the new voice. The reflection of a voice that cannot speak here changes over."""
    voice = await context.database.as_caller(caller).fetch_one(
        queries.voice, {"voice": voice_id}, row=MovableVoice
    )
    if voice is None:
        raise NotFound("There is no such voice.")
    provider = context.choose_provider(provider_name)
    require_movable(voice.language, voice.measures, provider.limits)
    parameters = {
        "attempt": new_id(),
        "voice": voice_id,
        "user": caller.user_id,
        **place(provider),
        "switch": switch_now
        or not is_here(context.providers, voice.tts_provider, voice.provider_region, voice.provider_account),
        "preview_required": context.settings.attempts.preview_required,
        "per_day": context.settings.attempts.per_day or None,
    }
    try:
        return required(await once(context.database, queries.move, parameters, row=AttemptRow))
    except Conflict as error:
        raise name_alternatives(context, error, provider.name) from error
