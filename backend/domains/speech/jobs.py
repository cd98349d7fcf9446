"""Speech jobs as their users see them: requested, listed, retried, deleted; the address of the speech."""

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from msgspec import Struct

from backend.context import AppContext
from backend.database.caller import Caller
from backend.database.pool import required
from backend.database.queries import load_queries
from backend.domains.samples.inspected import read_inspected
from backend.domains.samples.preparation import require_fit
from backend.domains.speech.advice import speech_advice
from backend.domains.voices.voices import taken_down
from backend.errors import Conflict, InferenceFailed, InvalidInput, NotFound
from backend.lifecycle.slots import name_alternatives
from backend.lifecycle.synthesis import speaking
from backend.lifecycle.values import JobStatus, Provider
from backend.providers.base import ProviderError, VoiceProvider
from backend.providers.problems import as_speech_error
from backend.storage.buckets import SPEECH_BUCKET
from backend.web.error_codes import ErrorCode
from backend.web.idempotency import has_result, new_id, once
from backend.web.pages import Page
from backend.web.rate_limits import RateLimits
from backend.web.text import clean_text

queries = load_queries(__file__)
LONGEST_TEXT = 50_000  # characters; a provider may accept less, and says so with a code of its own
RESULT_SECONDS = 600  # for which the address of a speech works
NOT_READY_SECONDS = 2.0  # after which the result may be asked for again


class JobRow(Struct, frozen=True, kw_only=True):
    """The columns of public.speech_jobs that its owner reads; the text is left out."""

    id: UUID
    sample_id: UUID
    attempt_id: UUID
    provider: str
    status: str
    characters: int
    error_code: str | None
    error_message: str | None
    request_id: str | None
    retry_count: int
    path: str | None
    bytes: int | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    expires_at: datetime | None
    removed_at: datetime | None
    is_taken_down: bool = False


class JobError(Struct, frozen=True, kw_only=True, rename="camel"):
    code: ErrorCode
    message: str
    help: str
    provider_request_id: str | None


class SpeechJob(Struct, frozen=True, kw_only=True, rename="camel"):
    """`error` of a job that is queued says why it waits. After `expiresAt` the speech is removed."""

    job_id: UUID
    sample_id: UUID
    attempt_id: UUID
    provider: Provider
    status: JobStatus
    characters: int
    error: JobError | None
    retry_count: int
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    expires_at: datetime | None
    removed_at: datetime | None

    @classmethod
    def of(cls, row: JobRow) -> "SpeechJob":
        shared: dict[str, Any] = {
            name: getattr(row, name) for name in cls.__struct_fields__ if name not in {"job_id", "error"}
        }
        error = None
        if row.error_code is not None:
            error = JobError(
                code=cast(ErrorCode, row.error_code),
                message=row.error_message or "",
                help=help_of(row),
                provider_request_id=row.request_id,
            )
        return cls(job_id=row.id, error=error, **shared)


def help_of(row: JobRow) -> str:
    has_failed, is_removed = row.status == "failed", row.removed_at is not None
    return speech_advice(row.error_code or "", has_failed=has_failed, is_removed=is_removed)


class Requested(Struct, frozen=True, kw_only=True, rename="camel"):
    job_id: UUID


class SpeechResult(Struct, frozen=True, kw_only=True, rename="camel"):
    """`audioUrl` needs no header, and works for `expiresInSeconds`."""

    audio_url: str
    bytes: int
    expires_in_seconds: int


class Created(Struct, frozen=True, kw_only=True):
    id: UUID


def clean_speech_text(text: str) -> str:
    cleaned = clean_text(text, most=LONGEST_TEXT, code="invalid_text", field="text", allowed="\n\r\t")
    if not any(character.isalnum() for character in cleaned):
        raise InvalidInput("There is no text to speak.", code="text_empty", field="text")
    return cleaned


async def request_speech(
    context: AppContext,
    limits: RateLimits,
    caller: Caller,
    sample_id: UUID,
    text: str,
    name: str,
    provider_name: str | None,
) -> UUID:
    """The id of the job. The sample is checked against the provider before a voice is made of it."""
    provider = context.choose_provider(provider_name)
    sample = (await read_inspected(context, caller, [sample_id])).get(sample_id)
    if sample is not None:  # else request_speech says what is missing
        provider.limits.require_language(sample.language or "")
        require_fit(sample.measures, provider.limits, "Name another provider, or send another sample.")
        await require_speakable(provider, text)
    if sample is not None and not has_result():
        await limits.use("characters", caller.user_id, len(text))
    parameters = {
        "job": new_id(),
        "user": caller.user_id,
        "sample": sample_id,
        "provider": provider.name,
        "region": provider.region or "",
        "text": text,
        "name": name,
        "per_day": context.settings.attempts.per_day or None,
    }
    return await write_job(context, queries.request_speech, parameters, provider)


async def require_speakable(provider: VoiceProvider, text: str) -> None:
    """Raises InvalidInput. A voice of an older target model may take less, which its job says then."""
    try:
        await speaking.require_speakable(provider, provider.target_model, text)
    except ProviderError as error:
        raise as_speech_error(error) from error


async def retry_speech(
    context: AppContext, limits: RateLimits, caller: Caller, job_id: UUID, name: str
) -> UUID:
    job = await find_job(context, caller, job_id)
    provider = context.choose_provider(job.provider)
    if not has_result() and job.status == "failed":
        await limits.use("characters", caller.user_id, job.characters)
    parameters = {
        "job": job_id,
        "user": caller.user_id,
        "name": name,
        "per_day": context.settings.attempts.per_day or None,
    }
    return await write_job(context, queries.retry_speech, parameters, provider)


async def write_job(
    context: AppContext, statement: str, parameters: dict[str, object], provider: VoiceProvider
) -> UUID:
    try:
        return required(await once(context.database, statement, parameters, row=Created)).id
    except Conflict as error:
        raise name_alternatives(context, error, provider.name) from error


async def find_job(context: AppContext, caller: Caller, job_id: UUID) -> JobRow:
    mine = context.database.as_caller(caller)
    job = await mine.fetch_one(queries.speech_job, {"job": job_id}, row=JobRow)
    if job is None:
        raise NotFound("There is no such job.")
    return job


async def list_jobs(context: AppContext, caller: Caller, page: Page) -> list[JobRow]:
    """Newest first."""
    mine = context.database.as_caller(caller)
    return await mine.fetch_all(queries.speech_jobs, page.parameters, row=JobRow)


async def delete_job(context: AppContext, caller: Caller, job_id: UUID) -> None:
    parameters = {"job": job_id, "user": caller.user_id}
    if not await context.database.fetch_value(queries.delete_speech_job, parameters, of=bool):
        raise NotFound("There is no such job.")


async def sign_result(context: AppContext, caller: Caller, job_id: UUID) -> SpeechResult:
    """Raises why there is no speech: not ready, failed, or not stored any more."""
    job = await find_job(context, caller, job_id)
    if job.is_taken_down:
        raise taken_down()
    if job.status == "failed":
        raise InferenceFailed(
            job.error_message,
            code=job.error_code,
            help=help_of(job),
            extra={"job_id": job.id, "provider": job.provider, "provider_request_id": job.request_id},
        )
    if job.status != "succeeded":
        raise Conflict(
            f"This job is {job.status}.",
            code="speech_not_ready",
            help="Read its status until it is succeeded or failed.",
            extra={"job_id": job.id, "current_status": job.status},
            retry_after=NOT_READY_SECONDS,
        )
    if job.path is None or job.bytes is None:
        raise Conflict(
            "The speech of this job is not stored any more.",
            code="speech_removed",
            help="Send the text again with POST /api/v1/clone.",
            extra={"job_id": job.id, "removed_at": job.removed_at},
        )
    url = await context.storage.signed_url(SPEECH_BUCKET, job.path, RESULT_SECONDS)
    return SpeechResult(audio_url=url, bytes=job.bytes, expires_in_seconds=RESULT_SECONDS)
