"""The remote providers that are configured, by name."""

from backend.providers.base import VoiceProvider
from backend.providers.cartesia.adapter import Cartesia
from backend.providers.decoding import SpeechDecoder
from backend.providers.elevenlabs.adapter import ElevenLabs
from backend.providers.profiles import ProfileStore
from backend.providers.qwen.adapter import Qwen
from backend.providers.reference.adapter import Reference, SampleStore
from backend.settings.providers import ProviderSettings
from backend.web.upstreams import Upstreams


def remote_providers(
    settings: ProviderSettings,
    upstreams: Upstreams,
    samples: SampleStore,
    profiles: ProfileStore,
    decoder: SpeechDecoder | None = None,
) -> dict[str, VoiceProvider]:
    """`samples` and `profiles` are where the voices of self-hosted models are."""
    providers: dict[str, VoiceProvider] = {}
    if settings.qwen_api_key and settings.qwen:
        providers["qwen"] = Qwen(settings.qwen, upstreams.provider("qwen"), decoder)
    if settings.elevenlabs_api_key and settings.elevenlabs:
        providers["elevenlabs"] = ElevenLabs(settings.elevenlabs, upstreams.provider("elevenlabs"), decoder)
    if settings.cartesia_api_key and settings.cartesia:
        providers["cartesia"] = Cartesia(settings.cartesia, upstreams.provider("cartesia"), decoder)
    for model in (settings.pipecat, settings.modal):
        if model and model.url:
            client = upstreams.provider(model.name)
            providers[model.name] = Reference(model, client, samples, profiles, decoder)
    return providers
