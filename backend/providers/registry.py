"""The remote providers whose keys are set, by name."""

from backend.providers.base import VoiceProvider
from backend.providers.decoding import SpeechDecoder
from backend.providers.elevenlabs.adapter import ElevenLabs
from backend.providers.qwen.adapter import Qwen
from backend.settings.providers import ProviderSettings
from backend.web.upstreams import Upstreams


def remote_providers(
    settings: ProviderSettings, upstreams: Upstreams, decoder: SpeechDecoder | None = None
) -> dict[str, VoiceProvider]:
    providers: dict[str, VoiceProvider] = {}
    if settings.qwen_api_key and settings.qwen:
        providers["qwen"] = Qwen(settings.qwen, upstreams.provider("qwen"), decoder)
    if settings.elevenlabs_api_key and settings.elevenlabs:
        providers["elevenlabs"] = ElevenLabs(settings.elevenlabs, upstreams.provider("elevenlabs"), decoder)
    return providers
