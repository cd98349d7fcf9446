"""Custom voices: a voice that exists at its provider already, which is asked before anything changes here."""

from uuid import UUID, uuid4

from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.errors import InvalidInput
from backend.lifecycle.attempts import AttemptRow
from backend.providers.base import ProviderVoice, VoiceProvider

queries = load_queries(__file__)
DEFAULT_LANGUAGE = "en"  # where neither the request nor the provider names one


class NewCustomVoice(Struct, frozen=True, kw_only=True):
    """A voice by its provider's id. Without a name it has its reflection's."""

    provider: str
    provider_voice_id: str
    name: str | None
    language: str | None


class KnownVoice(Struct, frozen=True, kw_only=True):
    """What the enrollments say of a voice; its language where the caller's own made it."""

    is_usable: bool
    language: str | None


async def use_custom_voice(
    context: AppContext, caller: Caller, reflection_id: UUID, new: NewCustomVoice
) -> AttemptRow:
    """The queued attempt, which supersedes the active one. A refused request changes nothing."""
    provider = context.choose_provider(new.provider)
    found = await describe_voice(provider, new.provider_voice_id)
    # Ownership is checked first: no answer reveals that another user's voice exists.
    ownership = {
        "user": caller.user_id,
        "provider": provider.name,
        "voice": new.provider_voice_id,
        "label": found.label,
    }
    known = await context.database.reads.fetch_one(queries.find_custom_voice, ownership, row=KnownVoice)
    if known is None or not known.is_usable:
        raise no_such_voice()
    target_model = speakable_model(provider, found)
    language = new.language or known.language or found.language or DEFAULT_LANGUAGE
    provider.limits.require_language(language)
    parameters = {
        **ownership,
        "attempt": uuid4(),
        "reflection": reflection_id,
        "region": provider.region or "",
        "account": provider.accounts[0],
        "target_model": target_model,
        "name": new.name,
        "language": language,
        "preview_required": context.settings.attempts.preview_required,
    }
    return required(await context.database.fetch_one(queries.use_custom_voice, parameters, row=AttemptRow))


async def describe_voice(provider: VoiceProvider, provider_voice_id: str) -> ProviderVoice:
    found = await provider.describe(provider_voice_id)
    if found is None:
        raise no_such_voice()
    return found


def speakable_model(provider: VoiceProvider, found: ProviderVoice) -> str:
    """The model to speak with. Raises InvalidInput where this service cannot speak with the voice."""
    if found.requires_verification and not found.is_verified:
        raise InvalidInput(
            "The provider has not verified the speaker of this voice yet.",
            code="voice_not_verified",
            field="provider_voice_id",
            help="Complete the verification at the provider, then send the id again.",
        )
    if found.target_model not in {None, provider.target_model}:
        raise InvalidInput(
            f"The voice was made for {found.target_model}, which is not spoken with here.",
            code="target_model_unsupported",
            field="provider_voice_id",
            help=f"Choose a voice that was made for {provider.target_model}.",
            extra={"target_model": found.target_model, "supported": [provider.target_model]},
        )
    return provider.target_model


def no_such_voice() -> InvalidInput:
    """The same for an id that does not exist and for one that is another user's."""
    return InvalidInput(
        "There is no such voice at this provider.",
        code="voice_not_found",
        field="provider_voice_id",
        help="Send the id of a voice that this service's account at the provider may speak with.",
    )
