"""The step of a sample: its file is inspected, cleaned and prepared for the providers, under a lease.

A consumer of the queue `voice_samples` takes it, or the call that waits for its sample takes it inline.
There is no other way in which a sample becomes ready.
"""

import asyncio
import hashlib
import math
from typing import Any, BinaryIO
from uuid import UUID

from msgspec import to_builtins
from psycopg.types.json import Jsonb

from backend.context import AppContext
from backend.database.backoff import outage_delay
from backend.domains.samples.preparation import (
    ANY_PROVIDER,
    PreparedSample,
    prepare,
    prepared_path,
    require_size,
    require_wav_or_mp3,
    store,
    temporary_file,
)
from backend.domains.samples.sample_leases import InspectionInProgress, SampleStep, claimed_sample, queries
from backend.errors import (
    AppError,
    Conflict,
    DatabaseUnavailable,
    InspectionUnavailable,
    InvalidFormat,
    SampleRefused,
    SampleTooLarge,
    StaleLease,
    StorageUnavailable,
    Throttled,
    Unavailable,
)
from backend.providers.base import Limits
from backend.queues.outcomes import SNOOZE_SECONDS, Done, Outcome, Snooze
from backend.storage.buckets import SAMPLE_BUCKET
from backend.storage.client import ObjectInfo
from backend.web.logs import log

REMOVE_SECONDS = 10.0  # less than the lease of a sample
FAULTS_OF_THE_SAMPLE = (InvalidFormat, SampleRefused, SampleTooLarge)
UPLOAD_AGAIN = "Record the sample again and upload it to the same URL."
RECORD_AGAIN = "Record the sample again, and send the new file."


async def prepare_sample(
    context: AppContext, sample_id: UUID, /, *, message_id: int | None = None
) -> Outcome:
    """From the queue, once an inspection can begin. The sample's row says what became of it."""
    user = await context.database.fetch_value(queries.user_of, {"sample": sample_id}, of=UUID)
    try:
        async with context.inspector.turn(user):
            return await prepare_in_turn(context, sample_id, message_id)
    except Throttled as error:
        return Snooze(math.ceil(error.retry_after or SNOOZE_SECONDS), "inspections_busy")


async def prepare_in_turn(context: AppContext, sample_id: UUID, message_id: int | None) -> Outcome:
    async with claimed_sample(context, sample_id, message_id) as step:
        if not isinstance(step, SampleStep):
            return step
        try:
            await run(step)
        except StaleLease:
            return Done("stale_lease")
        except DatabaseUnavailable:  # nothing was written: the lease ends, and the sweep moves the sample on
            raise
        except AppError as error:
            return Done(error.code, acknowledged=message_id is not None)
        return Done("ready", acknowledged=message_id is not None)


async def run(step: SampleStep, limits: Limits = ANY_PROVIDER, advice: str = RECORD_AGAIN) -> None:
    """To its end: the sample is ready, refused, or waits for another try. Raises what it was refused for.

    `limits`: of the provider that it is for, where that is known. `advice`: what to do about a refusal.
    Inline, a lease that is lost is no fault of the sample: InspectionInProgress, and its call may come again.
    """
    try:
        await run_to_its_end(step, limits, advice)
    except StaleLease as error:
        if step.is_inline:
            raise InspectionInProgress from error
        raise


async def run_to_its_end(step: SampleStep, limits: Limits, advice: str) -> None:
    try:
        await make_ready(step, limits, advice)
    except (StaleLease, DatabaseUnavailable):
        raise
    except FAULTS_OF_THE_SAMPLE as error:
        await refuse(step, error)
        raise
    except AppError as error:
        await give_back(step, error)
        raise
    except asyncio.CancelledError:  # the caller left: the next one need not wait until the lease is over
        await asyncio.shield(give_back(step, Unavailable()))
        raise
    except Exception:  # a bug: the budget limits the retries
        log.exception("sample_step_crashed", sample_id=str(step.work.sample_id))
        await give_back(step, AppError())
        raise


async def make_ready(step: SampleStep, limits: Limits, advice: str) -> None:
    context, work = step.context, step.work
    async with temporary_file() as original, temporary_file() as wav:
        found = await find_object(step)
        try:
            await download(step, found, original)
            content_hash = await asyncio.to_thread(hash_of, original)
            require_spoken_sample(content_hash, work.spoken_sample)
            user = work.owner_id if step.is_inline else None  # from the queue it has its turn
            prepared = await prepare(context, original, wav, limits, user, advice)
            if work.is_kept:
                require_wav_or_mp3(prepared.content_type)
        except FAULTS_OF_THE_SAMPLE:
            if not work.is_kept:  # the file of a kept sample goes when it has failed
                await remove_inspected(step, found)
            raise
        path = prepared_path(work.path)
        await store(context, wav, path, "audio/wav")
        await complete(step, prepared, path, content_hash)


async def find_object(step: SampleStep) -> ObjectInfo:
    found = await step.context.storage.info(SAMPLE_BUCKET, step.work.path)
    if found is not None:
        return found
    if step.work.is_kept:
        raise SampleRefused("The file of this sample is gone.", code="file_missing", help="Send it again.")
    raise Conflict(
        "Nothing has been uploaded yet.",
        code="upload_missing",
        help="PUT the file to the upload_url that /api/clone/upload-url gave, then finalize.",
    )


async def download(step: SampleStep, found: ObjectInfo, original: BinaryIO) -> None:
    most = step.context.settings.attempts.max_sample_bytes
    require_size(found.size, most, "sample")
    require_declared_size(found.size, step.work.declared_bytes)
    size = await step.context.storage.download_to(SAMPLE_BUCKET, step.work.path, original, most)
    if size != found.size:
        raise StorageUnavailable(internal=f"{size} bytes came of {found.size}")


def require_declared_size(size: int, declared: int | None) -> None:
    """An object of another size is not the file that the upload was opened for, or not the whole of it."""
    if size > 0 and declared is not None and size != declared:
        raise SampleRefused(
            f"The upload has {size} bytes, and {declared} were declared when it was opened.",
            code="sample_size_mismatch",
            field="bytes",
            help="Upload the whole file to the same URL, or open an upload for the other file.",
            extra={"uploaded_bytes": size, "declared_bytes": declared},
        )


def hash_of(file: BinaryIO) -> bytes:
    file.seek(0)
    digest = hashlib.sha256()
    while part := file.read(1 << 18):
        digest.update(part)
    file.seek(0)
    return digest.digest()


def require_spoken_sample(content_hash: bytes, needed: str | None) -> None:
    """A spoken consent is for one file: the one whose speaker was compared."""
    if needed is not None and content_hash.hex() != needed:
        raise SampleRefused(
            "This is not the sample that the consent was spoken for.",
            code="spoken_sample_differs",
            field="consent_id",
            help="Sign another spoken consent, with this sample.",
        )


async def remove_inspected(step: SampleStep, inspected: ObjectInfo) -> None:
    """Remove the object that was inspected, and no other: its user may have uploaded another meanwhile.

    Storage deletes by path alone. While the lease holds, no other call removes this object, and nothing can
    be uploaded to a path that is taken; so what has this version now has it until it is removed here.
    """
    storage, path = step.context.storage, step.work.path
    try:
        async with asyncio.timeout(REMOVE_SECONDS):
            if await step.renew() and await storage.info(SAMPLE_BUCKET, path) == inspected:
                await storage.remove(SAMPLE_BUCKET, [path])
    except TimeoutError as error:
        raise StorageUnavailable(internal="the refused object was not removed in time") from error


async def complete(step: SampleStep, prepared: PreparedSample, path: str, content_hash: bytes) -> None:
    await step.write(
        queries.complete,
        content_type=prepared.content_type,
        bytes=prepared.bytes,
        measures=Jsonb(to_builtins(prepared.inspection)),
        prepared_path=path,
        prepared_bytes=prepared.wav_bytes,
        content_hash=content_hash,
    )


async def refuse(step: SampleStep, error: AppError) -> None:
    measures: Any = error.extra.get("measures")
    await step.write(
        queries.refuse,
        code=error.code,
        error=error.message,
        measures=None if measures is None else Jsonb(measures),
    )
    log.info("sample_refused", sample_id=str(step.work.sample_id), code=error.code)


async def give_back(step: SampleStep, error: AppError) -> None:
    """What fails on our side: an outage uses up no try, what takes too long is tried once more."""
    failure = failure_of(error)
    code, message = {
        "timeout": ("inspection_timed_out", "Inspecting this sample took too long."),
        "crash": ("inspection_failed", "The inspection of this sample stopped without a result."),
    }.get(failure, (error.code, error.message))
    delay = outage_delay(step.work.waiting_seconds, error.retry_after) if failure == "outage" else 0.0
    await step.write(queries.requeue, delay=delay, code=code, error=message, failure=failure)
    if error.status >= 500:
        about = {"sample_id": str(step.work.sample_id), "code": code, "failure": failure}
        log.warning("sample_not_prepared", **about, internal=error.internal)


def failure_of(error: AppError) -> str:
    if isinstance(error, InspectionUnavailable):
        return error.failure
    is_ours = isinstance(error, Throttled) or error.status >= 500
    return "outage" if is_ours and type(error) is not AppError else "crash"
