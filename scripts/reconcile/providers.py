"""The providers that the settings name, for commands that look at what they keep."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from backend.providers.base import VoiceProvider
from backend.providers.local.adapter import LocalProvider
from backend.providers.registry import remote_providers
from backend.settings.providers import ProviderSettings
from backend.settings.sections import SettingsError, read_section
from backend.settings.supabase import SupabaseSettings
from backend.storage.buckets import LOCAL_VOICES, REFERENCE_VOICES
from backend.storage.client import Storage, StorageProfiles
from backend.storage.samples import StoredSamples
from backend.web.upstreams import Upstreams


class Keys(NamedTuple):
    """The settings that reach Storage and the providers, without those of the service."""

    supabase: SupabaseSettings
    providers: ProviderSettings


def read_keys(environ: Mapping[str, str] = os.environ) -> Keys:
    """Raises SettingsError."""
    problems: list[str] = []
    supabase = read_section(SupabaseSettings, environ, problems)
    providers = read_section(ProviderSettings, environ, problems)
    if problems or supabase is None or providers is None:
        raise SettingsError(problems)
    return Keys(supabase, providers)


def configured_providers(
    supabase: SupabaseSettings, settings: ProviderSettings, upstreams: Upstreams
) -> tuple[LocalProvider, dict[str, VoiceProvider]]:
    """The embedded provider, and the others by name."""
    storage = Storage(supabase, upstreams.storage)
    local = LocalProvider(StorageProfiles(storage, LOCAL_VOICES))
    reference_voices = StorageProfiles(storage, REFERENCE_VOICES)
    return local, remote_providers(settings, upstreams, StoredSamples(storage), reference_voices)
