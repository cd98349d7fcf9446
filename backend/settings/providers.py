"""Settings of the voice providers."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, field
from msgspec.structs import replace

from backend.settings.cartesia import CartesiaConfig
from backend.settings.elevenlabs import ElevenLabsConfig
from backend.settings.enrollments import EnrollmentSettings
from backend.settings.qwen import TARGET_MODEL, QwenConfig
from backend.settings.reach import can_fetch
from backend.settings.reference import ReferenceConfig

ProviderName = Literal["local", "qwen", "elevenlabs", "cartesia", "pipecat", "modal"]
PUBLIC_API = "https://provider.example.com"  # in any region
Slots = Annotated[int, Meta(ge=0)]


class ProviderSettings(EnrollmentSettings, frozen=True, kw_only=True):
    supabase_url: str = field(name="SUPABASE_URL", default="")
    voice_provider: ProviderName = field(name="VOICE_PROVIDER", default="local")
    qwen_api_key: str = field(name="QWEN_API_KEY", default="")
    qwen_region: str = field(name="QWEN_REGION", default="")
    qwen_base_url: str = field(name="QWEN_BASE_URL", default="")
    qwen_workspace_id: str = field(name="QWEN_WORKSPACE_ID", default="")
    qwen_account: str = field(name="QWEN_ACCOUNT", default="")
    qwen_target_model: str = field(name="QWEN_TARGET_MODEL", default=TARGET_MODEL)
    qwen_voice_slots: Slots | None = field(name="QWEN_VOICE_SLOTS", default=None)
    elevenlabs_api_key: str = field(name="ELEVENLABS_API_KEY", default="")
    elevenlabs_base_url: str = field(name="ELEVENLABS_BASE_URL", default="https://api.elevenlabs.io")
    elevenlabs_account: str = field(name="ELEVENLABS_ACCOUNT", default="")
    elevenlabs_model_id: str = field(name="ELEVENLABS_MODEL_ID", default="eleven_multilingual_v2")
    elevenlabs_webhook_secret: str = field(name="ELEVENLABS_WEBHOOK_SECRET", default="")
    elevenlabs_voice_slots: Slots | None = field(name="ELEVENLABS_VOICE_SLOTS", default=None)

    cartesia_api_key: str = field(name="CARTESIA_API_KEY", default="")
    cartesia_base_url: str = field(name="CARTESIA_BASE_URL", default="https://api.cartesia.ai")
    cartesia_account: str = field(name="CARTESIA_ACCOUNT", default="")
    cartesia_model_id: str = field(name="CARTESIA_MODEL_ID", default="sonic-3.5")
    cartesia_voice_slots: Slots | None = field(name="CARTESIA_VOICE_SLOTS", default=None)
    pipecat_url: str = field(name="PIPECAT_URL", default="")
    pipecat_api_key: str = field(name="PIPECAT_API_KEY", default="")
    modal_url: str = field(name="MODAL_URL", default="")
    modal_api_key: str = field(name="MODAL_API_KEY", default="")

    @property
    def voice_slots(self) -> dict[str, int | None]:
        """By provider: None to read the limit from the provider, 0 for no limit."""
        return {
            "qwen": self.qwen_voice_slots,
            "elevenlabs": self.elevenlabs_voice_slots,
            "cartesia": self.cartesia_voice_slots,
        }

    @property
    def qwen(self) -> QwenConfig | None:
        """None if no setting of Qwen is set."""
        given = self.qwen_api_key, self.qwen_region, self.qwen_base_url, self.qwen_workspace_id
        if self.voice_provider != "qwen" and not any(given):
            return None
        config = QwenConfig(
            api_key=self.qwen_api_key,
            region=self.qwen_region,
            base_url=self.qwen_base_url or None,
            workspace_id=self.qwen_workspace_id or None,
            target_model=self.qwen_target_model,
            account=self.qwen_account,
            create_seconds=self.create_seconds,
            listing_lag_seconds=self.listing_lag_seconds,
        )
        fetches = can_fetch(self.qwen_base_url or PUBLIC_API, self.supabase_url)
        return config if fetches else replace(config, send_sample_as="data_url")

    @property
    def elevenlabs(self) -> ElevenLabsConfig | None:
        """None if no setting of ElevenLabs is set."""
        if self.voice_provider != "elevenlabs" and not self.elevenlabs_api_key:
            return None
        return ElevenLabsConfig(
            api_key=self.elevenlabs_api_key,
            base_url=self.elevenlabs_base_url,
            model_id=self.elevenlabs_model_id,
            account=self.elevenlabs_account,
            create_seconds=self.create_seconds,
            listing_lag_seconds=self.listing_lag_seconds,
        )

    @property
    def cartesia(self) -> CartesiaConfig | None:
        """None if no setting of Cartesia is set."""
        if self.voice_provider != "cartesia" and not self.cartesia_api_key:
            return None
        return CartesiaConfig(
            api_key=self.cartesia_api_key,
            base_url=self.cartesia_base_url,
            model_id=self.cartesia_model_id,
            account=self.cartesia_account,
            create_seconds=self.create_seconds,
            listing_lag_seconds=self.listing_lag_seconds,
        )

    @property
    def pipecat(self) -> ReferenceConfig | None:
        """None if no setting of it is set."""
        return self._reference("pipecat", self.pipecat_url, self.pipecat_api_key)

    @property
    def modal(self) -> ReferenceConfig | None:
        """None if no setting of it is set."""
        return self._reference("modal", self.modal_url, self.modal_api_key)

    def _reference(self, name: Literal["pipecat", "modal"], url: str, api_key: str) -> ReferenceConfig | None:
        if self.voice_provider != name and not (url or api_key):
            return None
        return ReferenceConfig(name=name, url=url, api_key=api_key, create_seconds=self.create_seconds / 2)

    @property
    def configured(self) -> list[str]:
        """The providers that this deployment can use, with the region where it has one."""
        named = {
            "local": True,
            f"qwen ({self.qwen_region})": bool(self.qwen_api_key and self.qwen),
            "elevenlabs": bool(self.elevenlabs_api_key),
            "cartesia": bool(self.cartesia_api_key),
            "pipecat": bool(self.pipecat_url),
            "modal": bool(self.modal_url),
        }
        return [name for name, is_configured in named.items() if is_configured]

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        for config in (self.qwen, self.elevenlabs, self.cartesia, self.pipecat, self.modal):
            yield from config.problems() if config else ()
