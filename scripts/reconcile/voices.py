"""Comparing what each provider lists with what the database knows."""

from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Struct

from backend.database.pool import Database
from backend.database.queries import load_queries
from backend.errors import AppError
from backend.providers.base import ProviderError, ProviderVoice, VoiceProvider
from backend.providers.local.adapter import LocalProvider
from backend.providers.places import find_provider
from backend.providers.registry import remote_providers
from backend.settings import Settings
from backend.storage.buckets import LOCAL_VOICES, REFERENCE_VOICES
from backend.storage.client import Storage, StorageProfiles
from backend.storage.samples import StoredSamples
from backend.web.upstreams import Upstreams

queries = load_queries(__file__)
BATCH = 500  # voices compared in one statement
SUSPICIOUS = 3  # where so many are kept and all are missing, the key is rather one of another account


class Orphan(Struct, frozen=True, kw_only=True):
    """A provider voice that an enrollment made and no voice row owns."""

    enrollment_id: UUID
    attempt_id: UUID
    provider: str
    region: str
    provider_voice_id: str
    label: str
    status: str  # orphaned, or removing
    cancel_reason: str | None
    orphaned_at: datetime
    removal_due_at: datetime


class Unknown(Struct, frozen=True, kw_only=True):
    """A voice that a provider lists, and that neither a voice nor an enrollment accounts for."""

    provider: str
    region: str
    provider_voice_id: str
    label: str | None
    created_at: datetime | None
    enrollment_id: UUID | None  # whose label it bears
    enrollment_status: str | None


class Missing(Struct, frozen=True, kw_only=True):
    """A voice that is in use here, and that its provider does not have."""

    provider: str
    region: str
    provider_voice_id: str
    voice_id: UUID
    attempt_id: UUID


class Elsewhere(Struct, frozen=True, kw_only=True):
    """Voices that enrollments made, or may have made, where the settings do not look."""

    provider: str
    region: str
    account: str
    enrollments: int
    reason: str


class Found(Struct, kw_only=True):
    unknown: list[Unknown]
    elsewhere: list[Elsewhere]
    missing: list[Missing]
    errors: dict[str, str]
    lost: int = 0  # voices that were closed, uses as custom voices included


class UnknownRow(Struct, frozen=True, kw_only=True):
    provider_voice_id: str
    enrollment_id: UUID | None
    enrollment_status: str | None


class PlaceRow(Struct, frozen=True, kw_only=True):
    provider: str
    region: str
    account: str
    enrollments: int


class KeptRow(Struct, frozen=True, kw_only=True):
    voice_id: UUID
    attempt_id: UUID
    provider_voice_id: str
    is_new: bool  # a provider's list may not have it yet


def configured_providers(
    settings: Settings, upstreams: Upstreams
) -> tuple[LocalProvider, dict[str, VoiceProvider]]:
    """The embedded provider, and the others by name."""
    storage = Storage(settings.supabase, upstreams.storage)
    local = LocalProvider(StorageProfiles(storage, LOCAL_VOICES))
    reference_voices = StorageProfiles(storage, REFERENCE_VOICES)
    remote = remote_providers(settings.providers, upstreams, StoredSamples(storage), reference_voices)
    return local, remote


async def reconcile(settings: Settings, *, lose: bool = False) -> Found:
    """Compare every configured provider; one that cannot be read is reported, and the others are compared.

    `lose`: close the gates of what is missing.
    """
    upstreams = Upstreams()
    local, remote = configured_providers(settings, upstreams)
    found = Found(unknown=[], missing=[], elsewhere=[], errors={})
    providers = {local.name: local, **remote}
    async with upstreams, Database(settings.database) as database:
        for row in await database.fetch_all(queries.places, {}, row=PlaceRow):
            try:
                find_provider(providers, row.provider, row.region, row.account, region_is_known=True)
            except ProviderError as error:
                found.elsewhere.append(Elsewhere(**msgspec.structs.asdict(row), reason=error.code))
        for provider in providers.values():
            try:
                await compare(database, provider, found, lose=lose)
            except (ProviderError, AppError) as error:
                found.errors[provider.name] = f"{error.code}: {error.message}"
        await local.aclose()
    return found


async def compare(database: Database, provider: VoiceProvider, found: Found, *, lose: bool) -> None:
    where = {"provider": provider.name, "region": provider.region or ""}
    accounts = {"accounts": list(provider.accounts)}
    # Read before the list: a voice that is created after this read must not be reported as missing.
    kept = await database.fetch_all(queries.kept, {**where, **accounts}, row=KeptRow)
    listed: set[str] = set()
    async for batch in batches(provider.list()):
        listed |= {voice.provider_voice_id for voice in batch}
        parameters = {
            **where,
            "voices": [voice.provider_voice_id for voice in batch],
            "labels": [voice.label for voice in batch],
        }
        made = {voice.provider_voice_id: voice for voice in batch}
        for row in await database.fetch_all(queries.unknown, parameters, row=UnknownRow):
            voice = made[row.provider_voice_id]
            found.unknown.append(
                Unknown(
                    **where,
                    provider_voice_id=voice.provider_voice_id,
                    label=voice.label,
                    created_at=voice.created_at,
                    enrollment_id=row.enrollment_id,
                    enrollment_status=row.enrollment_status,
                )
            )
    # Requested by its id: lists lag, and leave out the voices that a provider offers to everyone.
    missing = [
        row
        for row in kept
        if row.provider_voice_id not in listed and await provider.describe(row.provider_voice_id) is None
    ]
    found.missing += [
        Missing(
            **where,
            provider_voice_id=row.provider_voice_id,
            voice_id=row.voice_id,
            attempt_id=row.attempt_id,
        )
        for row in missing
    ]
    if lose and len(missing) == len(kept) >= SUSPICIOUS:
        found.errors[provider.name] = (
            f"none of its {len(kept)} voices is there: is it the key of this account?"
        )
    elif lose:
        for row in missing:  # a transaction each: it locks the attempts that use the voice
            if row.is_new:
                continue
            values = {**where, **accounts, "id": row.provider_voice_id}
            found.lost += await database.fetch_value(queries.lose, values, of=int) or 0


async def batches(voices: AsyncIterator[ProviderVoice]) -> AsyncIterator[list[ProviderVoice]]:
    batch: list[ProviderVoice] = []
    async for voice in voices:
        batch.append(voice)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
