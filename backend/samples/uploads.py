"""Uploads: a signed upload is opened for a sample, then finalized, which queues its attempt."""

import asyncio
from datetime import datetime
from math import ceil
from typing import BinaryIO
from uuid import UUID

from msgspec import Struct, structs, to_builtins
from psycopg.types.json import Jsonb

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.errors import (
    Conflict,
    IllegalTransition,
    InvalidFormat,
    NotFound,
    SampleRefused,
    SampleTooLarge,
    StorageUnavailable,
)
from backend.lifecycle.attempts import AttemptRow, read_attempt
from backend.lifecycle.enrollment import process_attempt
from backend.lifecycle.slots import name_alternatives
from backend.samples.inspections import Lease, inspection_lease
from backend.samples.preparation import (
    PreparedSample,
    plain_content_type,
    prepare,
    prepared_path,
    require_size,
    sample_path,
    temporary_file,
)
from backend.samples.voice_details import VoiceDetails
from backend.storage.buckets import SAMPLE_BUCKET
from backend.storage.client import ObjectInfo
from backend.web.background import Background
from backend.web.idempotency import has_result, new_id, once

queries = load_queries(__file__)
MESSAGE_MARGIN_SECONDS = 5  # after the wait, before a consumer takes over an inline attempt
REMOVE_SECONDS = 10.0  # less than the lease of an inspection
FAULTS_OF_THE_SAMPLE = (InvalidFormat, SampleRefused, SampleTooLarge)


class Upload(Struct, frozen=True, kw_only=True):
    """An upload as it was opened."""

    id: UUID
    user_id: UUID
    status: str
    provider: str
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


class NewAttempt(Struct, frozen=True, kw_only=True):
    """What an attempt is opened with."""

    consent_id: UUID
    reflection_id: UUID | None
    content_type: str
    bytes: int
    provider: str | None


async def open_attempt(
    context: AppContext, caller: Caller, attempt_id: UUID, path: str, new: NewAttempt
) -> UUID:
    """Opens the attempt; the id of its future voice."""
    provider = context.choose_provider(new.provider)
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
        "preview_required": context.settings.attempts.preview_required,
        "per_day": context.settings.attempts.per_day or None,
    }
    try:
        return required(await once(context.database, queries.open, parameters, row=Opened)).voice_id
    except Conflict as error:
        raise name_alternatives(context, error, provider.name) from error


async def check_opening(context: AppContext, caller: Caller, new: NewAttempt) -> None:
    """Raises what open_attempt would raise."""
    if has_result():  # an earlier request with this idempotency key opened it
        return
    provider = context.choose_provider(new.provider)
    parameters = {
        "user": caller.user_id,
        "consent": new.consent_id,
        "reflection": new.reflection_id,
        "per_day": context.settings.attempts.per_day or None,
        "provider": provider.name,
        "region": provider.region or "",
    }
    try:
        await context.database.execute(queries.check_opening, parameters)
    except Conflict as error:
        raise name_alternatives(context, error, provider.name) from error


async def open_upload(context: AppContext, caller: Caller, new: NewAttempt) -> OpenUpload:
    content_type = plain_content_type(new.content_type)
    require_size(new.bytes, context.settings.attempts.max_sample_bytes, "bytes")
    attempt_id = new_id()
    path = sample_path(caller.user_id, attempt_id, content_type)
    signed = context.storage.sign_upload_here(SAMPLE_BUCKET, path)
    opening = open_attempt(context, caller, attempt_id, path, structs.replace(new, content_type=content_type))
    if signed:
        voice_id = await opening
    else:  # concurrently: a signature that is never sent to the client is harmless
        signing = context.storage.create_signed_upload_url(SAMPLE_BUCKET, path)
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
    context: AppContext, background: Background, caller: Caller, voice_id: UUID, details: VoiceDetails
) -> AttemptRow:
    """Inline first, queue backed: check the object, queue the attempt, run its process step, wait a little.

    A repeated call returns the attempt as it is and changes nothing.
    """
    mine = context.database.as_caller(caller)
    upload = await mine.fetch_one(queries.upload_of_voice, {"voice": voice_id}, row=Upload)
    if upload is None:
        raise NotFound("There is no upload for this voice.", field="voice_id")
    if upload.status == "awaiting_upload":
        try:
            await take_upload(context, upload, details)
        except IllegalTransition:  # a concurrent finalize was first; return its attempt
            return await read_attempt(context, caller, upload.id)
        work = background.start(process_attempt(context.for_steps(), upload.id, early=True))
        await asyncio.wait({work}, timeout=context.settings.attempts.finalize_wait)
    return await read_attempt(context, caller, upload.id)


async def take_upload(context: AppContext, upload: Upload, details: VoiceDetails) -> None:
    """Inspect the uploaded object and queue its attempt; a refused object is deleted."""
    provider = context.choose_provider(upload.provider)
    provider.limits.require_language(details.language)
    async with (
        context.inspector.turns.of(upload.id),
        inspection_lease(context, upload.id, upload.user_id) as lease,
        temporary_file() as original,
        temporary_file() as wav,
    ):
        found = await find_object(context, upload)
        try:
            await download(context, upload, found, original)
            prepared = await prepare(context, original, wav, provider.limits, upload.user_id)
        except FAULTS_OF_THE_SAMPLE:
            await remove_inspected(context, upload, found, lease)
            raise
        delay = ceil(context.settings.attempts.finalize_wait) + MESSAGE_MARGIN_SECONDS
        await queue(context, upload.user_id, upload.id, details, prepared, delay, lease)


async def find_object(context: AppContext, upload: Upload) -> ObjectInfo:
    found = await context.storage.info(SAMPLE_BUCKET, upload.path)
    if found is None:
        raise Conflict(
            "Nothing has been uploaded yet.",
            code="upload_missing",
            help="PUT the file to the upload_url that /api/clone/upload-url gave, then finalize.",
        )
    return found


async def download(context: AppContext, upload: Upload, found: ObjectInfo, original: BinaryIO) -> None:
    most = context.settings.attempts.max_sample_bytes
    require_size(found.size, most, "sample")
    size = await context.storage.download_to(SAMPLE_BUCKET, upload.path, original, most)
    if size != found.size:
        raise StorageUnavailable(internal=f"{size} bytes came of {found.size}")


async def remove_inspected(context: AppContext, upload: Upload, inspected: ObjectInfo, lease: Lease) -> None:
    """Remove the object that was inspected, and no other: its user may have uploaded another meanwhile.

    Storage deletes by path alone. While the lease holds, no other call removes this object, and nothing can
    be uploaded to a path that is taken; so what has this version now has it until it is removed here.
    """
    async with asyncio.timeout(REMOVE_SECONDS):
        if not await lease.renew():
            return
        present = await context.storage.info(SAMPLE_BUCKET, upload.path)
        if present == inspected:
            await context.storage.remove(SAMPLE_BUCKET, [upload.path])


async def queue(
    context: AppContext,
    user_id: UUID,
    attempt_id: UUID,
    details: VoiceDetails,
    prepared: PreparedSample,
    delay: int,
    lease: Lease | None = None,
) -> AttemptRow:
    """Store the prepared WAV, then queue the attempt; consumers get its message after `delay` seconds."""
    path = prepared_path(user_id, attempt_id)
    await context.storage.upload(SAMPLE_BUCKET, path, prepared.wav, "audio/wav", upsert=True)
    parameters = {
        "attempt": attempt_id,
        "user": user_id,
        "name": details.name,
        "language": details.language,
        "transcript": details.transcript,
        "content_type": prepared.content_type,
        "bytes": prepared.bytes,
        "measures": Jsonb(to_builtins(prepared.inspection)),
        "prepared_path": path,
        "prepared_bytes": len(prepared.wav),
        "delay": delay,
        "inspection": lease.epoch if lease else None,
    }
    return required(await context.database.fetch_one(queries.queue, parameters, row=AttemptRow))
