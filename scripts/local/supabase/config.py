"""supabase/config.toml: what the local project shares with a hosted one."""

import tomllib
from pathlib import Path

import msgspec

from scripts.local.supabase.storage.server import StorageSettings
from scripts.migrations import PROJECT

CONFIG = PROJECT / "supabase" / "config.toml"


class ProjectConfig(msgspec.Struct, frozen=True):
    api_port: int
    database_port: int
    schemas: list[str]
    jwt_expiry: int
    site_url: str


class GatewaySettings(msgspec.Struct):
    """Of the gateway's process; `upstream` is where Auth and Data API listen."""

    port: int
    upstream: str
    storage: StorageSettings
    realtime_url: str = ""  # the database of Realtime; without it, none is served


def load_config(path: Path = CONFIG) -> ProjectConfig:
    parsed = tomllib.loads(path.read_text())
    return ProjectConfig(
        api_port=parsed["api"]["port"],
        database_port=parsed["db"]["port"],
        schemas=parsed["api"]["schemas"],
        jwt_expiry=parsed["auth"]["jwt_expiry"],
        site_url=parsed["auth"]["site_url"],
    )
