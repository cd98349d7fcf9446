"""The AppContext: what steps and operations need, made once in `create_app`."""

from collections.abc import Mapping

from msgspec import Struct, structs

from backend.audio.inspect import AudioInspector
from backend.database.pool import Database
from backend.errors import InvalidInput
from backend.provenance.marking import AudioMarker
from backend.providers.base import VoiceProvider
from backend.settings import Settings
from backend.storage.client import Storage
from backend.web.guarded_http import GuardedHttp


class AppContext(Struct, frozen=True, kw_only=True):
    settings: Settings
    database: Database
    storage: Storage
    providers: Mapping[str, VoiceProvider]  # the configured ones, by name
    inspector: AudioInspector
    marker: AudioMarker  # of each audio that leaves
    recordings: GuardedHttp
    webhooks: GuardedHttp  # to addresses that users choose

    def for_steps(self) -> "AppContext":
        """The same context, whose statements run in the pool's share of steps."""
        return structs.replace(self, database=self.database.steps)

    def choose_provider(self, name: str | None) -> VoiceProvider:
        """The named provider, or by default the project's. Raises InvalidInput where it is not set up."""
        wanted = str(
            name or self.settings.providers.voice_provider
        )  # a name, whatever type it was decoded to
        provider = self.providers.get(wanted)
        if provider is None:
            raise InvalidInput(
                f"The voice provider {wanted!r} is not set up here.",
                code="provider_not_configured",
                field="provider",
                help=f"One of {', '.join(sorted(self.providers))}.",
            )
        return provider
