"""What the work needs, made once in `create_app` and handed to whoever does it."""

from collections.abc import Mapping

from msgspec import Struct

from backend.audio.inspect import AudioInspector
from backend.database import Database
from backend.gate import LaunchGates
from backend.providers.base import VoiceProvider
from backend.settings import Settings
from backend.storage import Storage


class Parts(Struct, frozen=True, kw_only=True):
    settings: Settings
    database: Database
    gates: LaunchGates
    storage: Storage
    providers: Mapping[str, VoiceProvider]  # the configured ones, by name
    inspector: AudioInspector
