"""The remote providers whose keys are set, by name."""

from backend.http_client import HttpClient
from backend.providers.base import VoiceProvider
from backend.providers.elevenlabs import ElevenLabs, ElevenLabsConfig
from backend.providers.qwen import Qwen, QwenConfig
from backend.settings import ProviderSettings


def remote_providers(settings: ProviderSettings, http: HttpClient) -> dict[str, VoiceProvider]:
    providers: dict[str, VoiceProvider] = {}
    if settings.qwen_api_key:
        providers["qwen"] = Qwen(
            QwenConfig(
                api_key=settings.qwen_api_key,
                region=settings.qwen_region,
                base_url=settings.qwen_base_url or None,
                workspace_id=settings.qwen_workspace_id or None,
                target_model=settings.qwen_target_model,
            ),
            http,
        )
    if settings.elevenlabs_api_key:
        providers["elevenlabs"] = ElevenLabs(
            ElevenLabsConfig(
                api_key=settings.elevenlabs_api_key,
                base_url=settings.elevenlabs_base_url,
                model_id=settings.elevenlabs_model_id,
            ),
            http,
        )
    return providers
