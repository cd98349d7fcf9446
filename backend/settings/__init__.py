"""Settings come from environment variables; every fault is reported at once, before anything starts.

`.env.example` documents each of them (a test compares the two).
"""

import os
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from backend.settings.anchors import AnchorSettings
from backend.settings.attempts import AttemptSettings
from backend.settings.database import DatabaseSettings
from backend.settings.limits import LimitSettings
from backend.settings.network import NetworkSettings
from backend.settings.provenance import ProvenanceSettings
from backend.settings.providers import ProviderSettings
from backend.settings.queues import QueueSettings
from backend.settings.sections import SettingsError, read_section
from backend.settings.server import ServerSettings
from backend.settings.supabase import SupabaseSettings
from backend.settings.twilio import TwilioSettings


class Settings(Struct, frozen=True, kw_only=True):
    server: ServerSettings
    database: DatabaseSettings
    supabase: SupabaseSettings
    providers: ProviderSettings
    attempts: AttemptSettings
    limits: LimitSettings
    queues: QueueSettings
    network: NetworkSettings
    twilio: TwilioSettings
    provenance: ProvenanceSettings
    anchors: AnchorSettings


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError. A variable that is empty counts as absent."""
    problems: list[str] = []
    sections: dict[str, Any] = {
        each.name: read_section(each.type, environ, problems) for each in msgspec.structs.fields(Settings)
    }
    if problems:
        raise SettingsError(problems)
    return Settings(**sections)
