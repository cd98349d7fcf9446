"""The main job as the routes see it: open an upload, finalize it, or clone a file or a sample at once."""

import asyncio
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import anyio
from msgspec import Struct, structs, to_builtins
from psycopg.types.json import Jsonb

from backend.attempts import AttemptRow
from backend.auth import Caller
from backend.background import Background
from backend.enrollment import process_attempt
from backend.errors import (
    Conflict,
    IllegalTransition,
    InvalidFormat,
    NotFound,
    SampleRefused,
    SampleTooLarge,
)
from backend.idempotency import new_id, once
from backend.parts import Parts
from backend.samples import (
    SAMPLE_BUCKET,
    InspectedSample,
    PreparedSample,
    choose_provider,
    plain_content_type,
    prepare,
    prepared_path,
    require_fit,
    require_language,
    require_size,
    sample_path,
    workspace,
)
from backend.slots import name_alternatives
from backend.sql import load_queries

T = TypeVar("T")
queries = load_queries("attempts")
MESSAGE_MARGIN_SECONDS = 5  # beyond the wait, before a consumer looks after an inline attempt


class Upload(Struct, frozen=True, kw_only=True):
    """What an open upload asked for."""

    id: UUID
    user_id: UUID
    status: str
    provider: str
    bucket: str
    path: str


class Opened(Struct, frozen=True, kw_only=True):
    voice_id: UUID


class OpenUpload(Struct, frozen=True, kw_only=True):
    """PUT the file to `upload_url` until `expires_at`, then finalize `voice_id`."""

    voice_id: UUID
    attempt_id: UUID
    path: str
    upload_url: str
    token: str
    expires_at: datetime


class Naming(Struct, frozen=True, kw_only=True):
    """What the user says of the voice."""

    name: str
    language: str
    transcript: str | None


class NewAttempt(Struct, frozen=True, kw_only=True):
    """What an attempt is opened with."""

    consent_id: UUID
    reflection_id: UUID | None
    content_type: str
    bytes: int
    provider: str | None


async def open_attempt(parts: Parts, caller: Caller, attempt_id: UUID, path: str, new: NewAttempt) -> UUID:
    """The id of the voice that it may become."""
    provider = choose_provider(parts, new.provider)
    parameters = {
        "attempt": attempt_id,
        "user": caller.user_id,
        "consent": new.consent_id,
        "reflection": new.reflection_id,
        "provider": provider.name,
        "region": provider.region or "",
        "path": path,
        "content_type": new.content_type,
        "bytes": new.bytes,
        "preview_required": parts.settings.attempts.preview_required,
    }
    try:
        return required(await once(parts.database, queries.open, parameters, row=Opened)).voice_id
    except Conflict as error:
        raise name_alternatives(parts, error, provider.name) from error


async def open_upload(parts: Parts, caller: Caller, new: NewAttempt) -> OpenUpload:
    content_type = plain_content_type(new.content_type)
    require_size(new.bytes, parts.settings.attempts.max_sample_bytes, "bytes")
    attempt_id = new_id()
    path = sample_path(caller.user_id, attempt_id, content_type)
    signed = parts.storage.sign_upload_here(SAMPLE_BUCKET, path)
    opening = open_attempt(parts, caller, attempt_id, path, structs.replace(new, content_type=content_type))
    if signed:
        voice_id = await opening
    else:  # both at once, the slower one first: a signature that nobody gets to see harms nobody
        signing = parts.storage.create_signed_upload_url(SAMPLE_BUCKET, path)
        signed, voice_id = await asyncio.gather(signing, opening)
    return OpenUpload(
        voice_id=voice_id,
        attempt_id=attempt_id,
        path=path,
        upload_url=signed.url,
        token=signed.token,
        expires_at=signed.expires_at,
    )


async def finalize(
    parts: Parts, background: Background, caller: Caller, voice_id: UUID, naming: Naming
) -> AttemptRow:
    """Inline first, queue backed: check the object, queue the attempt, run its process step, wait a little.

    The same call again finds the attempt where it is and changes nothing.
    """
    mine = parts.database.as_caller(caller)
    upload = await mine.fetch_one(queries.upload_of_voice, {"voice": voice_id}, row=Upload)
    if upload is None:
        raise NotFound("There is no upload for this voice.", field="voice_id")
    if upload.status == "awaiting_upload":
        try:
            await take_upload(parts, upload, naming)
        except IllegalTransition:  # another finalize was faster; its attempt is the answer
            return await read_attempt(parts, caller, upload.id)
        work = background.start(process_attempt(parts, upload.id, early=True))
        await asyncio.wait({work}, timeout=parts.settings.attempts.finalize_wait)
    return await read_attempt(parts, caller, upload.id)


async def take_upload(parts: Parts, upload: Upload, naming: Naming) -> None:
    """Check the uploaded object and queue its attempt; an object that fails is removed."""
    info = await parts.storage.info(upload.bucket, upload.path)
    if info is None:
        raise Conflict(
            "Nothing has been uploaded yet.",
            code="upload_missing",
            help="PUT the file to the upload_url that /api/clone/upload-url gave, then finalize.",
        )
    most = parts.settings.attempts.max_sample_bytes
    provider = choose_provider(parts, upload.provider)
    async with workspace() as folder:
        original = folder / "original"
        try:
            require_size(info.size, most, "sample")
            await parts.storage.download_to(upload.bucket, upload.path, original, most)
            prepared = await prepare(parts, original, provider.limits, naming.language)
        except (InvalidFormat, SampleRefused, SampleTooLarge):
            await parts.storage.remove(upload.bucket, [upload.path])
            raise
        delay = ceil(parts.settings.attempts.finalize_wait) + MESSAGE_MARGIN_SECONDS
        await queue(parts, upload.user_id, upload.id, naming, prepared, delay)


async def queue(
    parts: Parts, user_id: UUID, attempt_id: UUID, naming: Naming, prepared: PreparedSample, delay: int
) -> AttemptRow:
    """Store what the provider gets, then queue; the consumers see the attempt after `delay` seconds."""
    path = prepared_path(user_id, attempt_id)
    content = await anyio.Path(prepared.wav).read_bytes()
    await parts.storage.upload(SAMPLE_BUCKET, path, content, "audio/wav", upsert=True)
    parameters = {
        "attempt": attempt_id,
        "user": user_id,
        "name": naming.name,
        "language": naming.language,
        "transcript": naming.transcript,
        "content_type": prepared.content_type,
        "bytes": prepared.bytes,
        "measures": Jsonb(to_builtins(prepared.inspection)),
        "prepared_path": path,
        "prepared_bytes": len(content),
        "delay": delay,
    }
    return required(await parts.database.fetch_one(queries.queue, parameters, row=AttemptRow))


async def clone_file(
    parts: Parts, caller: Caller, original: Path, new: NewAttempt, naming: Naming
) -> AttemptRow:
    """A sample that came with the request: checked before anything is stored."""
    content_type = plain_content_type(new.content_type)
    provider = choose_provider(parts, new.provider)
    require_size(new.bytes, parts.settings.attempts.max_sample_bytes, "sample")
    prepared = await prepare(parts, original, provider.limits, naming.language)
    attempt_id = new_id()
    path = sample_path(caller.user_id, attempt_id, content_type)
    await open_attempt(parts, caller, attempt_id, path, structs.replace(new, content_type=content_type))
    content = await anyio.Path(original).read_bytes()
    await parts.storage.upload(SAMPLE_BUCKET, path, content, content_type, upsert=True)
    try:
        return await queue(parts, caller.user_id, attempt_id, naming, prepared, delay=0)
    except IllegalTransition:  # an earlier call with the same key got as far as this
        return await read_attempt(parts, caller, attempt_id)


async def clone_sample(
    parts: Parts, caller: Caller, reflection_id: UUID, sample_id: UUID, provider_name: str | None, name: str
) -> AttemptRow:
    """Another attempt with a sample that passed before; its language and transcript are known."""
    provider = choose_provider(parts, provider_name)
    mine = parts.database.as_caller(caller)
    sample = await mine.fetch_one(queries.measures, {"samples": [sample_id]}, row=InspectedSample)
    if sample is not None:  # else there is none of the caller's, or none that passed: clone_sample says so
        require_language(provider.limits, sample.language or "")
        require_fit(sample.measures, provider.limits, "Name another provider, or clone another sample.")
    parameters = {
        "attempt": new_id(),
        "user": caller.user_id,
        "sample": sample_id,
        "reflection": reflection_id,
        "provider": provider.name,
        "region": provider.region or "",
        "preview_required": parts.settings.attempts.preview_required,
        "name": name,
    }
    try:
        return required(await once(parts.database, queries.clone_sample, parameters, row=AttemptRow))
    except Conflict as error:
        raise name_alternatives(parts, error, provider.name) from error


async def read_attempt(parts: Parts, caller: Caller, attempt_id: UUID) -> AttemptRow:
    """Under row level security: another's is not there."""
    mine = parts.database.as_caller(caller)
    attempt = await mine.fetch_one(queries.by_id, {"attempt": attempt_id}, row=AttemptRow)
    if attempt is None:
        raise NotFound("There is no such attempt.")
    return attempt


def required(row: T | None) -> T:
    """The row, or value, of a function that returns one or raises."""
    assert row is not None  # noqa: S101
    return row
