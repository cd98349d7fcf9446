"""Cloning an employee: their recorded call is copied and inspected like a sample, then an attempt is queued.

docs/decisions/0049-an-attempt-for-an-employee.md
"""

from contextlib import suppress
from typing import BinaryIO
from uuid import UUID, uuid4

from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.errors import AppError, Conflict, ConsentRequired
from backend.lifecycle.attempts import AttemptRow
from backend.lifecycle.slots import name_alternatives
from backend.providers.base import VoiceProvider
from backend.samples.added import AddedSample
from backend.samples.preparation import require_size, sample_path, store, temporary_file
from backend.samples.sample_leases import SampleStep, claimed_sample
from backend.samples.sample_step import FAULTS_OF_THE_SAMPLE, run
from backend.samples.voice_details import Language
from backend.storage.buckets import RECORDING_BUCKET
from backend.web.idempotency import has_key, has_result, new_id, once

queries = load_queries(__file__)

PREFERRED = "elevenlabs"  # where it is set up and no other provider is named
CONTENT_TYPE = "audio/wav"
ADVICE = "Record another call."


class NewEmployeeClone(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    language: Language = "en"
    provider: str | None = None


def recording_path(employee_id: UUID) -> str:
    return f"{employee_id}/{employee_id}.wav"


async def clone_employee(
    context: AppContext, caller: Caller, employee_id: UUID, new: NewEmployeeClone
) -> AttemptRow:
    """The queued attempt. Authorised before the recording is read; a refused one leaves no copy."""
    provider = context.choose_provider(
        new.provider or (PREFERRED if PREFERRED in context.providers else None)
    )
    provider.limits.require_language(new.language)
    about = {
        "employee": employee_id,
        "user": caller.user_id,
        "per_day": context.settings.attempts.per_day or None,
    }
    sample_id = new_id()
    if not has_result():  # else an earlier request with this idempotency key has cloned it
        await context.database.execute(queries.check_clone, about)
        async with temporary_file() as original:
            size = await read_recording(context, employee_id, original)
            parameters = {
                **about,
                "sample": sample_id,
                "language": new.language,
                "path": sample_path(employee_id, uuid4(), CONTENT_TYPE),
                "content_type": CONTENT_TYPE,
                "bytes": size,
            }
            row = await context.database.fetch_one(queries.add_recording, parameters, row=AddedSample)
            await inspect(context, required(row), employee_id, original, provider)
    parameters = {
        **about,
        "attempt": new_id(),
        "sample": sample_id,
        "provider": provider.name,
        "region": provider.region or "",
        "preview_required": context.settings.attempts.preview_required,
    }
    try:
        return required(await once(context.database, queries.clone_recording, parameters, row=AttemptRow))
    except ConsentRequired:  # it was revoked meanwhile
        await drop(context, sample_id, employee_id)
        raise
    except Conflict as error:
        raise name_alternatives(context, error, provider.name) from error


async def read_recording(context: AppContext, employee_id: UUID, original: BinaryIO) -> int:
    """Its size. Raises Conflict where no call of the employee was recorded."""
    path, most = recording_path(employee_id), context.settings.attempts.max_sample_bytes
    found = await context.storage.info(RECORDING_BUCKET, path)
    if found is None:
        raise Conflict(
            "No call of this employee is recorded yet.",
            code="recording_not_stored",
            help=f"Record one; it is read from {RECORDING_BUCKET}/{path}.",
        )
    require_size(found.size, most, "recording")
    return await context.storage.download_to(RECORDING_BUCKET, path, original, most)


async def inspect(
    context: AppContext, sample: AddedSample, employee_id: UUID, original: BinaryIO, provider: VoiceProvider
) -> None:
    """Store the copy and run its step here, for this provider. Raises what the recording is refused for."""
    try:
        if sample.status == "awaiting_upload":
            await store(context, original, sample.path, CONTENT_TYPE)
        async with claimed_sample(context, sample.id, inline=True) as step:
            if isinstance(step, SampleStep):
                await run(step, provider.limits, ADVICE)
            elif step.reason == "busy":  # an earlier request with this idempotency key
                raise Conflict(
                    "This recording is being inspected.",
                    code="inspection_in_progress",
                    help="Send the same call again a little later.",
                    retry_after=2,
                )
    except FAULTS_OF_THE_SAMPLE:
        await drop(context, sample.id, employee_id)
        raise
    except AppError:
        if not has_key():  # else a call with the same key may go on with it
            with suppress(AppError):
                await drop(context, sample.id, employee_id)
        raise


async def drop(context: AppContext, sample_id: UUID, employee_id: UUID) -> None:
    await context.database.execute(queries.drop_recording, {"sample": sample_id, "employee": employee_id})
