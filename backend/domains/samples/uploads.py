"""Uploads: a signed upload is opened for a sample, then finalized, which queues its attempt."""

import asyncio
from datetime import datetime
from math import ceil
from uuid import UUID

from msgspec import Struct, structs

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.samples.preparation import plain_content_type, require_size, sample_path
from backend.domains.samples.taking_uploads import Upload, take_upload
from backend.domains.samples.voice_details import VoiceDetails
from backend.errors import Conflict, IllegalTransition, NotFound
from backend.lifecycle.attempts import AttemptRow, read_attempt
from backend.lifecycle.enrollment import process_attempt
from backend.lifecycle.slots import name_alternatives
from backend.storage.buckets import SAMPLE_BUCKET
from backend.web.background import Background
from backend.web.idempotency import has_result, new_id, once

queries = load_queries(__file__)
MESSAGE_MARGIN_SECONDS = 5  # after the wait, before a consumer takes over an inline attempt


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
    details: VoiceDetails | None = None  # with them, the object that arrives is finalized without a call


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
        "name": new.details and new.details.name,
        "language": new.details and new.details.language,
        "transcript": new.details and new.details.transcript,
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
    if new.details is not None:
        context.choose_provider(new.provider).limits.require_language(new.details.language)
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
            delay = ceil(context.settings.attempts.finalize_wait) + MESSAGE_MARGIN_SECONDS
            await take_upload(context, upload, details, delay)
        except IllegalTransition:  # a concurrent finalize was first; return its attempt
            return await read_attempt(context, caller, upload.id)
        work = background.start(process_attempt(context.for_steps(), upload.id, early=True))
        await asyncio.wait({work}, timeout=context.settings.attempts.finalize_wait)
    return await read_attempt(context, caller, upload.id)
