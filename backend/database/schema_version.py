"""The version of the schema that this service was written for, against that of the database."""

from typing import Literal

SCHEMA_VERSION = 1  # what voice_clone.schema_version() returns after the migrations of this release

Fit = Literal["ok", "not_migrated", "too_new"]


def compare_schema(version: int, oldest_service: int) -> Fit:
    """A newer schema fits as long as it still serves this version of the service."""
    if version < SCHEMA_VERSION:
        return "not_migrated"
    return "ok" if oldest_service <= SCHEMA_VERSION else "too_new"
