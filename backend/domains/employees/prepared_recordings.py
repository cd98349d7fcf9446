"""The recording of an employee, copied to a sample of its own and inspected like every other, for a clone.

docs/decisions/0049-an-attempt-for-an-employee.md
"""

from contextlib import suppress
from typing import Any, BinaryIO
from uuid import UUID, uuid4

from msgspec import Struct

from backend.context import AppContext
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.samples.preparation import require_size, sample_path, store, temporary_file
from backend.domains.samples.sample_leases import InspectionInProgress, SampleStep, claimed_sample
from backend.domains.samples.sample_step import FAULTS_OF_THE_SAMPLE, run
from backend.errors import AppError, Conflict
from backend.providers.base import VoiceProvider
from backend.storage.buckets import RECORDING_BUCKET

queries = load_queries(__file__)

PREFERRED = "elevenlabs"  # where it is set up and no other provider is named
CONTENT_TYPE = "audio/wav"
ADVICE = "Record another call."
REPLACED = "recording_replaced"


class Cloning(Struct, frozen=True, kw_only=True):
    """Who clones which recording. `id` is that of the sample and of the attempt: the same on each try."""

    id: UUID
    employee_id: UUID
    user_id: UUID | None  # none where the organization asked for it
    is_repeatable: bool  # another try continues with the same sample
    object_version: str | None = None  # the one to clone, where it matters


class RecordingCopy(Struct, frozen=True, kw_only=True):
    """The sample that the recording is copied to."""

    id: UUID
    status: str
    path: str


def recording_path(employee_id: UUID) -> str:
    return f"{employee_id}/{employee_id}.wav"


def choose_provider(context: AppContext, name: str | None, language: str) -> VoiceProvider:
    preferred = PREFERRED if PREFERRED in context.providers else None
    provider = context.choose_provider(name or preferred)
    provider.limits.require_language(language)
    return provider


def parameters_of(context: AppContext, cloning: Cloning) -> dict[str, Any]:
    per_day = context.settings.attempts.per_day or None
    return {"employee": cloning.employee_id, "user": cloning.user_id, "per_day": per_day}


def request_of(context: AppContext, provider: VoiceProvider) -> dict[str, Any]:
    return {
        "provider": provider.name,
        "region": provider.region or "",
        "preview_required": context.settings.attempts.preview_required,
    }


async def prepare_recording(
    context: AppContext, cloning: Cloning, language: str, provider: VoiceProvider
) -> None:
    """Authorises, then copies the recording to a sample and inspects it; it is ready, or refused."""
    about = parameters_of(context, cloning)
    await context.database.execute(queries.check_clone, about)
    async with temporary_file() as original:
        size = await read_recording(context, cloning, original)
        parameters = {
            **about,
            "sample": cloning.id,
            "language": language,
            "path": sample_path(cloning.employee_id, uuid4(), CONTENT_TYPE),
            "content_type": CONTENT_TYPE,
            "bytes": size,
        }
        row = await context.database.fetch_one(queries.add_recording, parameters, row=RecordingCopy)
        await inspect(context, required(row), cloning, original, provider)


async def read_recording(context: AppContext, cloning: Cloning, original: BinaryIO) -> int:
    """Its size. Raises Conflict where no call of the employee was recorded, or it was replaced."""
    path, most = recording_path(cloning.employee_id), context.settings.attempts.max_sample_bytes
    found = await context.storage.info(RECORDING_BUCKET, path)
    if found is None:
        raise Conflict(
            "No call of this employee is recorded yet.",
            code="recording_not_stored",
            help=f"Record one; it is read from {RECORDING_BUCKET}/{path}.",
        )
    require_size(found.size, most, "recording")
    size = await context.storage.download_to(RECORDING_BUCKET, path, original, most)
    if cloning.object_version is not None:
        again = await context.storage.info(RECORDING_BUCKET, path)
        versions = {found.version, again.version if again else None}
        if versions != {cloning.object_version}:
            raise Conflict("A newer recording has taken its place.", code=REPLACED)
    return size


async def inspect(
    context: AppContext, sample: RecordingCopy, cloning: Cloning, original: BinaryIO, provider: VoiceProvider
) -> None:
    """Store the copy and run its step here, for this provider. Raises what the recording is refused for."""
    try:
        if sample.status == "awaiting_upload":
            await store(context, original, sample.path, CONTENT_TYPE)
        async with claimed_sample(context, sample.id, inline=True) as step:
            if isinstance(step, SampleStep):
                await run(step, provider.limits, ADVICE)
            elif step.reason == "busy":  # an earlier request with this idempotency key
                raise InspectionInProgress("This recording is being inspected.")
    except FAULTS_OF_THE_SAMPLE:
        await drop(context, cloning)
        raise
    except AppError:
        if not cloning.is_repeatable:
            with suppress(AppError):
                await drop(context, cloning)
        raise


async def drop(context: AppContext, cloning: Cloning) -> None:
    values = {"sample": cloning.id, "employee": cloning.employee_id}
    await context.database.execute(queries.drop_recording, values)
